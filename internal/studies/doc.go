// Package studies runs the analyses of package analysis on tables and writes what they find: one function per study, which
// computes everything first and then writes its files, so that a study that fails leaves none. It reads files, needs no
// model and no torch, and serves `sat analyze` and the analysis stage of a run alike.
//
// Every CSV file has its provenance beside it in NAME.meta.json: inputs, settings, seeds, versions, numbers of models and
// images. Numbers are written with every digit; an undefined one is an empty cell in CSV and null in JSON. docs/files.md
// lists every file and its columns.
package studies
