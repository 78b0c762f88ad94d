// Command sat measures how similar image classifiers are by how well adversarial images made on one of them fool the
// others (Similarity by Attack Transferability).
//
// # The way through the program
//
//	timm ──export──▶ modules ──train──▶ modules
//	                    │
//	images ──data──▶ attack: once per source model ──▶ adversarial store (exact, compact)
//	                    │                                     │
//	                    └── evaluate: clean predictions       ▼
//	                                             transfer: once per target model, over all stored sources
//	                                                          │
//	                                                          ▼
//	              similarity (counts → SAT, intervals) ──▶ analysis ──▶ figures, tables, report
//
// Each command is one file of this package and does one stage; it parses flags, calls the package that does the work
// and prints. What a stage does is in that package:
//
//	sat/torch                the binding to libtorch: who owns a tensor, threads, errors
//	sat/attacks              the attacks and the transfer loop, over two small interfaces, without cgo
//	sat/boundary             the competing measure: agreement of decision boundaries on planes through three images
//	sat/zoo                  TorchScript files: description, checks, loading; the registry of the paper's models
//	sat/internal/data        image folders, the evaluation transform, .npy files
//	sat/internal/train       recipes, schedules, the training loop, checkpoints
//	sat/internal/experiment  TOML experiment files
//	sat/internal/store       files on disk: atomic writes, adversarial images, bit tables, keys, locks
//	sat/internal/studies     analyses of tables: from files to files, without torch
//	sat/internal/run         units of work, their execution and resumption, result files
//	sat/analysis             scores, intervals, clusters, keywords; numbers in, numbers out
//	sat/analysis/report      figures and the report, made from result files alone
//	sat/internal/synthetic   invented runs with planted structure, to try reports on (sat synthetic, a hidden command)
//
// # Conventions
//
// stdout carries data only; progress, warnings and errors go to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or
// configuration, 3 finished with some units failed or undefined, 4 the environment lacks something (libtorch, a
// driver), 130 interrupted. The first interrupt finishes the step and saves; the second exits at once.
package main
