// Package zoo knows the networks: the registry of the paper's models, the module files that hold them, and the Model that
// attacks and transfer evaluation call.
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
// that made the file, float32 must agree to 1e-5: the largest difference relative to the largest logit, and the relative L2
// difference of the gradient. Elsewhere kernels round differently, which ReLU and max pooling amplify, so float32 must
// agree to 1e-4 and 3e-2, and a replay in float64 to 1e-5.
//
// A file without sat.json, from any other exporter, is accepted with a warning after self-checks: finite, repeatable over
// calls, independent of the batch size, with a gradient that is not zero. They cannot tell a wrong gradient from a right one.
//
// # Initialisation
//
// InitWeights executes the rules that the exporter took from the network's own code. Element i of a tensor comes from the
// stream rng.New(seed, "init", rng.ID(tensor name)), so it depends on nothing else. Numbers differ from PyTorch's for the
// same seed; the distributions are equal.
//
// # What is left out
//
// Building networks (scripts/export.py does), networks with several heads or attention outputs as more
// than their first output.
package zoo
