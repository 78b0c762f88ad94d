// Package report turns the result files of a run into figures, report.html, report.md and report.json. It reads files
// and computes no results of its own beyond counts, means, rankings and trend lines of what it read; it never runs a model. It does
// not choose colours by taste of the data: the similarity matrix always ends at ln 100, so two reports can be compared.
//
// # Files read
//
// All paths are relative to the run directory. Columns are found by name; their order is free and further columns are
// ignored. An empty field is an undefined number. Names of models must agree between files. The files of similarity/
// must exist, unless they are called optional, and agree with each other; the others are optional, and what they would have shown is marked "not run".
//
//	similarity/sat.csv                  model,<names>: square, rows in the order of the columns
//	similarity/pairs_undirected.csv     a,b,n_both,fooled_ab,fooled_ba,percent,sat,ci_lo,ci_hi,status
//	similarity/pairs.csv                source,target,n_both,n_fooled
//	similarity/self.csv                 model,n_both,n_fooled: the diagonal's counts
//	similarity/accuracy.csv             model,n,top1: top1 in per cent
//	similarity/{sat,pairs_undirected}.meta.json    any object of settings
//	similarity/guards.csv               model,flags[,classes,attacked,zero_gradient,saturated,nan_replaced,white_box,
//	                                    resized_pairs,resize_marked,top1,paper_filter]: what a run found about each model, see
//	                                    docs/files.md; optional
//	similarity/resize_only.csv          optional: source,target,n_both,n_wrong: clean images of source, resized, that target
//	                                    gets wrong
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
//	models/pretraining.csv              kind (linear probe, training),encoder,method,model,seed,n,top1,ci_lo,ci_hi in per cent: of
//	                                    encoders that learned without labels; method is empty for a network as drawn
//	pictures/pictures.json              pictures [{file (a PNG of that folder: original, change, result), source, image,
//	                                    label, amplified, linf, predictions [{model,class}]}]
//	boundary/planes.json                grid, range, pictures [{a,b,pair,triplet,images,labels,plane {u,c,h},agreement,
//	                                    classes_a,classes_b}]: class maps, the first axis outermost
//	stability_seconds.json              device, threads, batch, rows [{method,n,seconds}]
//	run.json                            see Info. Models with adversarial were trained to withstand the attack: they are
//	                                    missing in analysis/groups.json and sweep/
//
// and of each section its own files below analysis/, named as the paper's outputs: fig1_tsne.csv, fig3_importance.csv,
// fig5_sat_vs_err.csv and so on. The file section_NAME.go of a section lists them with their columns.
//
// # Sections
//
// A family of results is one variable of type section in one file, section_NAME.go, listed in the variable sections in the
// order of the page. To add one:
//
//  1. Write section_NAME.go with a section: an id, a title, a lead, the names of its files, the command that writes them,
//     and a function read. It reads its files by [Run.analysisTable], which names file, line and column of what is wrong
//     with them, and returns nil when they are not there: page and report.md then list it as not run and name the files.
//  2. Return a content: blocks in reading order (texts, tables, figures, folded parts), which report.html and report.md
//     both show; values, which are set beside the paper's by the ids of paper.csv; and data for report.json. Figures have
//     ready forms: scatter (points, line, band, r and p), lineChart (a line per k over N), heatmap. A table with a Stem
//     is written to figures/ and can be downloaded.
//  3. Add the variable to sections, the paper's values to paper.csv, and the files to package internal/synthetic, whose
//     runs the tests and scripts/check-report.sh (make check-report: headless Chromium) look at.
//
// # Files written
//
// report.html is one file that needs no network and works without its script; report.md has the same content as text.
// figures/ holds each figure as SVG (text stays text), PNG (300 dots per inch), on demand PDF, and the CSV of its numbers;
// and each table of the paper as CSV. They are named as the paper's outputs, those beyond the paper same_vs_different,
// spectral_eigenvalues, whitebox_sweep, training_curves and, on demand, figD1_sat_matrix_dendrogram. The page embeds the CSV files, large ones compressed; what has
// more than 2 MB even so stays beside the page.
//
// # Schema of report.json, version 2
//
// Version 2 adds results, section and value_text of items, and tables. Undefined numbers are null; lists that were not run
// are empty and objects null.
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
//	results    by section that was run:
//	           map {kl, perplexity, trustworthiness}; importance {train_r2, components [{component, mean, std, rank,
//	           rank_paper}]}; ensembles {fig5: correlation; fig6a, fig6b, figF1: steps_as_in_the_paper of steps from k to
//	           k + 1 clusters at equal N}; training {tab3 [{architecture, diversity, mean_sat, ci_lo, ci_hi, n_models,
//	           n_pairs}]}; distillation {fig8a, fig8b, fig8c, figG1}; attacks {fig2a, fig2b}; stability [{method, n, ratio,
//	           std, std_lo, std_hi, cost}]; novel {figH1, assignments [{model, method, cluster, margin, expected}]};
//	           guards [{model, classes, attacked, zero_gradient, saturated, nan_replaced, white_box, top1, paper_filter,
//	           flags}]; pretraining [{kind, encoder, method, model, top1, ci_lo, ci_hi}]. A correlation has r, ci_lo, ci_hi (95 %), p, log10_p, n, spearman, slope, intercept, band_level
//	items      values of the paper: id, section, where, quantity, value (ours) or value_text, ci_lo, ci_hi, expected,
//	           expected_hi, expected_text, difference (to the nearest expected value), verdict, scope (ours), expected_scope
//	settings   section to key to value, as text
//	versions   name to version
//	figures    paths
//	tables     paths
//
// A verdict is "match" (equal as printed), "within noise" (the paper's value lies in our interval), "differs" (it does
// not, or there is no interval) or "not run".
package report
