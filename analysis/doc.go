// Package analysis turns the outcomes of transfer attacks into similarity scores and studies them: slices in, values out.
// It reads and writes no files (parsers and writers take an io.Reader or io.Writer), calls no C code, prints nothing, and
// imports nothing of the project but its random numbers. "The paper" is the one on Similarity by Attack Transferability
// (SAT) of 69 image classifiers; its printed tables are in package paper, below this one.
//
// # Scores
//
// For models A and B let X_AB be the images that both classify correctly when clean, n = |X_AB|, and f_AB the number of
// these whose adversarial version made on A fools B. Then (Eq. 1)
//
//	SAT(A,B) = ln max{eps_s, 100 (f_AB + f_BA) / (2n)}
//
// [Doubts] names the pairs whose score must not be taken at face value. [Tables] holds one bit per (source, target, image) and per (model, image); [Tables.Count] reduces them to the integers
// n and f; [Counts.Score] to scores with a status each. A pair with n = 0 has no score: NaN here, status "empty", never
// eps_s. [Scores.Bootstrap] resamples images, the same draw for all pairs. [CompareGroups] asks whether models of one
// group (an architecture, say) are more similar than models of different groups, permuting models, not pairs.
//
// # Clusters and keywords
//
// [SpectralClusters] is normalised spectral clustering (Ng, Jordan and Weiss 2001): affinity A from SAT, degrees
// D_ii = sum_j A_ij, the eigenvectors of the K smallest eigenvalues of L = I - D^-1/2 A D^-1/2 as columns, rows scaled to
// length 1, [KMeans] on the rows. The paper writes L = D - A and "the K largest eigenvectors", which taken literally picks
// the least smooth vectors; it fits the cited algorithm, whose K largest of D^-1/2 A D^-1/2 are these. All readings are
// switches. [Agree] compares partitions (adjusted Rand index, normalised mutual information, matched fraction).
//
// [Keywords] weighs "component=value" words by TF-IDF, a model being a document, and averages over each cluster. Its
// defaults reproduce 49 of the 50 keywords of Tab. 2 from the paper's own feature table.
//
// [TSNE] places models in the plane (Fig. 1) by exact t-SNE of the distances max(0, ln 100 - SAT); [Trustworthiness] says
// how far its neighbours are neighbours.
//
// # Importance of components
//
// [Boost] fits gradient boosting of regression trees; [FeatureImportance] explains the SAT score of a pair by the components
// in which the two models differ, and measures a component by the R2 lost when its column is permuted (Fig. 3). Equal rows
// are collapsed into patterns and 0/1 columns take a path of their own, with one prediction per possible row.
//
// # Ensembles
//
// [Logits] describes models by a reader of their logits, which are streamed and never in memory together.
// [Logits.Ensembles] counts the errors of any sets of models, exactly as plain sums over all classes would, at the price of a
// few classes. [Logits.PairEnsembles] relates the gain of two models to their similarity (Fig. 5),
// [Logits.ClusterEnsembles] that of N models to the number of clusters they come from (Figs. 6, 7 and F.1).
//
// # Studies
//
// [DescribeStability] and [CompareSpread] ask how much a score changes with the images (Tab. 1);
// [TrainingSimilarities] and [TrainingEnsembles] what training changes (Tab. 3, Fig. 7); [Distillation] which teacher serves
// a student (Figs. 8 and G.1); [Scores.CompareOneSided] and [AssignNovel] what is known of a model that was not clustered
// (Fig. H.1, appendix H). Beyond the paper, [ChooseDiverse] picks members of an ensemble, [RankTeachers] a teacher,
// [Sensitivities] tells which settings of an architecture change its mistakes, and [CompareMatrices] whether two ways to
// measure similarity agree.
//
// # Correlations
//
// [Correlate] gives Pearson's r with p from Student's t, Fisher's interval, and Spearman's r; p comes with log10 p, because
// the paper's r = 0.82 over 2,346 pairs has p = 1.9e-570. Pairs of models share models, so such a p overstates the
// evidence; [Mantel] permutes models instead. [FitTrend] is the line of the paper's scatter plots with its 90 % band, and
// [MeanSimilarity] the mean over a set of models (Tab. 3), with an interval from resampling models.
//
// # Differences from the usual libraries
//
//   - KMeans goes on with single-row moves where Lloyd's algorithm stops, and by default has no tolerance: its inertia is
//     equal to scikit-learn's or lower. Labels are numbered by first appearance.
//   - Boost breaks ties between features that divide a node alike uniformly at random and exactly; elsewhere rounding has a
//     say in them. Predictions of the training rows are scikit-learn's.
//   - TSNE starts from classical scaling rather than at random, keeps distances in float64, and leaves its input alone.
//   - SpectralClusters works in the order of model names, so the order of the input rows changes nothing; eigenvectors
//     have their largest entry positive.
//   - Keywords treats weights within 1e-12 of each other as tied, instead of leaving ties to rounding.
//   - r of points on a line is exactly 1 or -1 with p = 0; near |r| = 1, p comes from the residuals, not from r.
//   - Spearman's p uses the t distribution for any number of points.
//   - A permutation p counts the observed arrangement, so it is never 0.
//
// # Tolerances
//
// The tests hold the results against these libraries (testdata names their versions) and definitions, to
//
//   - counts, statuses, ensembles: equal;
//   - SAT and percent: 1e-15; intervals of the bootstrap: 1e-14 relative;
//   - boosting: predictions of training rows, loss of a stage and R2 within 1e-9 of the library, importance means within four
//     standard errors, and 1e-9 for given permutations;
//   - spectral clustering: eigenvalues and eigengap 1e-10, inner products of the feature rows (the projector, whatever the
//     basis) 1e-10; single eigenvectors are not compared;
//   - k-means: inertia equal to the library's best of 100 restarts or lower (1e-12 relative); brute force on small cases;
//   - TF-IDF: every weight 1e-12;
//   - t-SNE: P 1e-10; KL and gradient at given embeddings 1e-10; the final KL from random starts between the lowest and the
//     highest of the library's seeds, and from classical scaling not above the highest; trustworthiness 1e-12;
//   - correlations: r 1e-12, p 1e-10 relative, log10 p 1e-9 beyond the range of float64, intervals 1e-12;
//   - trend lines and bands: 1e-11 relative; agreement of partitions 1e-12; heights of the linkage 1e-12 relative;
//   - standard deviations 1e-12 relative, their intervals and the Brown-Forsythe test 1e-11, its p 1e-10 relative.
//
// Every random step takes a seed and gives equal results for equal seeds whatever the number of goroutines. NaN and
// infinite input is an error that names the cell, except in a [Matrix], where NaN marks a pair without a score; functions
// that need all pairs refuse it by name.
package analysis
