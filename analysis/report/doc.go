// Package report turns the result files of a run into figures, report.html, report.md and report.json. It reads files
// and computes no results of its own beyond counts, means and rankings of what it read; it never runs a model. It does
// not choose colours by taste of the data: the similarity matrix always ends at ln 100, so two reports can be compared.
//
// # Files read
//
// All paths are relative to the run directory. Columns are found by name; their order is free and further columns are
// ignored. An empty field is an undefined number. Names of models must agree between files. The files of similarity/
// must exist and agree with each other; the others are optional, and what they would have shown is marked "not run".
//
//	similarity/sat.csv                  model,<names>: square, rows in the order of the columns
//	similarity/pairs_undirected.csv     a,b,n_both,fooled_ab,fooled_ba,percent,sat,ci_lo,ci_hi,status
//	similarity/pairs.csv                source,target,n_both,n_fooled
//	similarity/self.csv                 model,n_both,n_fooled: the diagonal's counts
//	similarity/accuracy.csv             model,n,top1: top1 in per cent
//	similarity/{sat,pairs_undirected}.meta.json    any object of settings
//	features.csv                        model, then one column per component; base_architecture colours a strip
//	analysis/tab2_clusters.csv          model,cluster: clusters count from 1
//	analysis/spectral_eigenvalues.csv   index,eigenvalue: ascending, from index 1
//	analysis/spectral_distance.csv      square like sat.csv
//	analysis/tab2_keywords.csv          cluster,rank,component,value,score
//	analysis/clusters.json              inertia, eigengap, order (names in display order), agreement {ari,nmi,matched},
//	                                    warnings; other keys are shown as settings
//	analysis/groups.json                models [{model,group}], within, across, all, groups [{group,models}], each with
//	                                    pairs, excluded, floored, mean, median, ci_lo, ci_hi; difference, ci_lo, ci_hi, p,
//	                                    p_rank, permutations, exact. Optional: all, groups, every ci, p_rank
//	sweep/sweep.csv                     epsilon,model,n_both,n_fooled: white-box success; epsilon as 8/255 or decimal
//	sweep/groups.csv                    epsilon,within_mean,across_mean,difference,p,permutations[,p_rank][,chosen]: chosen
//	                                    is 1 on the epsilon that the run uses
//	models/NAME/curve.csv               epoch,train_loss[,val_loss][,val_top1]: accuracy as a fraction of 1
//	run.json                            see Info
//
// # Files written
//
// report.html is one file that needs no network and works without its script; report.md has the same content as text.
// figures/ holds each figure as SVG (text stays text), PNG (300 dots per inch) and the CSV of its numbers: figD1_sat_matrix,
// same_vs_different, spectral_eigenvalues, figC1_spectral_distance_named, whitebox_sweep, training_curves.
//
// # Schema of report.json, version 1
//
// Undefined numbers are null; lists that were not run are empty and objects null.
//
//	schema_version, name
//	scope      data, models, pairs, images, paper_scale (true: size and attack of the paper), paths_only (true: random
//	           weights, no number is a result)
//	warnings   sentences
//	summary    pairs with a score, excluded (undefined), floored, small, mean and median SAT of different models
//	claim      within, across, groups: pairs, floored, mean, median, ci_lo, ci_hi; difference, ci_lo, ci_hi, p,
//	           p_rank, permutations, exact, holds (p < 0.01 and difference > 0)
//	clusters   k, order, eigenvalues, eigengap, inertia, agreement_with_paper {ari,nmi,matched}, keywords
//	           [{cluster,rank,component,value,score}]
//	models     [{model, group, cluster, n (images), top1 (per cent), n_self (correct), n_fooled_self, mean_sat, nearest
//	           [{model,sat,ci_lo,ci_hi}], farthest}]
//	sweep      [{epsilon, value, chosen, lowest_white_box (per cent), within_mean, across_mean, difference, p,
//	           p_rank, permutations}]
//	items      values of the paper: id, where, quantity, value (ours), ci_lo, ci_hi, expected, expected_hi, expected_text,
//	           difference (to the nearest expected value), verdict, scope (ours), expected_scope
//	settings   section to key to value, as text
//	versions   name to version
//	figures    paths
//
// A verdict is "match" (equal as printed), "within noise" (the paper's value lies in our interval), "differs" (it does
// not, or there is no interval) or "not run".
package report
