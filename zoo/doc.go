// Package zoo knows the networks: the registry of the paper's models, the module files that hold them, and the Model that
// attacks and transfer evaluation call.
//
// # Registry
//
// data/models.csv lists 90 networks: the 69 of the paper's main experiment (Table A.1), which come first and have the 13
// components of Tables A.3 and A.4 (data/features.csv) and a cluster of Table 2 (data/names.csv), and 21 others that its
// studies of teachers, students, training regimes and novel networks need. Groups gives the words for several of them.
//
// The paper used timm 0.6.7; files are made by timm 1.0.31 from the same weights, with the preprocessing of 0.6.7 where
// the newer version changed it (column differs_in_1_0_31). How sure the correspondence of the weights is stands in match
// and match_reason: exact for 88 by the file that timm's tables or history name, unsure for tv_resnet50, none for
// gluon_xception65, which timm 1.0.31 has not: that one is exported by timm 0.6.7 itself (ErrNeedsTimm067). Of two networks
// timm 1.0.31 computes another function from the same weights; the exporter gives them back that of 0.6.7, and the manifest
// says so: dpn107 (last activation ELU, now ReLU) and poolformer_m48 (group normalisation before the pooling, now layer
// normalisation after it).
//
// Random weights are of two kinds. As timm draws them (WeightsRandom) many networks are degenerate: heads and gains of zero
// make logits constant and gradients zero, and an attack proves nothing. WeightsNonDegenerate draws these too, calibrates
// batch normalisation on photographs and scales the head, and the exporter refuses a network that still gives an image a
// zero gradient. Either way the numbers of such a network are no results.
//
// # Module files
//
// NAME.pt is a TorchScript file with two extra files. sat.json (Manifest) says what the network is: names, input size,
// normalisation, transform, classes, the SHA-256 of its weights, how each tensor is initialised, and how to check it.
// sat-check.bin holds the numbers of that check. Files are made by scripts/export.py from timm, and by Save after training.
//
// # What Load trusts
//
// TorchScript has returned wrong input gradients with right outputs, and a wrong gradient makes every attack quietly weak.
// So a file is refused (ErrRefused) unless
//
//  1. every record matches its checksum and the weights match weights_sha256;
//  2. its code reproduces what eager PyTorch computed when the file was made: logits and pixel gradients of the summed
//     cross-entropy for seeded weights (Check.Fill) and seeded inputs, at calls 1, 3 and 10, for two batch sizes.
//
// The second step works on a copy of the network, so it also holds for trained weights; the seeded weights are far from
// degenerate, where initial ones (zero gains, zero heads) would give zero gradients that prove nothing. On the kind of CPU
// that made the file, with one thread per operation, float32 must agree to 1e-5: the largest difference relative to the largest logit, and the relative L2
// difference of the gradient. Elsewhere kernels round differently, which ReLU and max pooling amplify, so float32 must
// agree to 1e-4 and 3e-2, and a replay in float64 to 1e-5. Where the network is to be lowered (Mode), so is a copy, in
// float32, which must agree with the record to 1e-4 and 3e-2 too.
//
// A file without sat.json, from any other exporter, is accepted with a warning after self-checks: finite, repeatable over
// calls, independent of the batch size, with a gradient that is not zero. They cannot tell a wrong gradient from a right one.
// Lowered, it must agree with itself to 1e-4 and 3e-2 too, or to four times what another layout in memory changes.
//
// # Initialisation
//
// InitWeights executes the rules that the exporter took from the network's own code. Element i of a tensor comes from the
// stream rng.New(seed, "init", rng.ID(tensor name)), so it depends on nothing else. Numbers differ from PyTorch's for the
// same seed; the distributions are equal.
//
// # What is left out
//
// Building networks (scripts/export.py does). Of networks with several heads or attention outputs, Logits gives the first
// output alone.
package zoo
