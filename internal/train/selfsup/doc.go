// Package selfsup trains the encoder of a vision transformer without labels: MAE, MoCo v3 and BYOL. What it leaves is a file
// whose encoder a classifier is then fine-tuned from (train.Job.Encoder), and which Probe judges by a linear classifier.
//
// # Methods
//
// MAE (He et al., "Masked autoencoders are scalable vision learners", CVPR 2022): the encoder sees a random quarter of an image's
// patches, a small decoder draws the others; with p the pixels of a hidden patch, normalised to mean 0 and variance 1, and d what
// was drawn, the loss is the mean of (d - p)² over the hidden patches.
//
// MoCo v3 (Chen, Xie and He, "An empirical study of training self-supervised vision transformers", ICCV 2021): with q the
// prediction of the network for one view of an image, k the keys that a momentum network has for the other views of the batch, all
// of length 1, and temperature T, the loss is 2T · CE(q·k/T, own image), summed over both directions. The momentum network moves to
// m·itself + (1-m)·network before it is asked, m going by a cosine to 1; the projection of patches stays as it was drawn.
//
// BYOL (Grill et al., "Bootstrap your own latent", NeurIPS 2020): the loss is 2 - 2·q·k, summed over both directions, without other
// images. The target network moves after each update.
//
// Loss and network are one TorchScript file, made by scripts/satexport/selfsup.py from timm's ViT: its forward pass takes what the
// loop here prepares and returns the loss. Views (crop, mirror, jitter, grey, blur, solarise) come from package data, masks from
// keyed random numbers; optimisers and schedules are those of package train.
//
// # Differences from the methods' programs
//
// BYOL normalises each view by its own batch, as the paper does; byol-pytorch joins both. The target's running statistics of batch
// norms, which nothing reads, move like its weights. Probe solves its convex problem on features without augmentation, where the
// programs train a layer on crops for 90 epochs. There is one process, so the other images of MoCo v3 are those of its batch.
// The published ViT-S of these methods do not exist (MAE, BYOL) or have twelve heads (MoCo v3); a model's own arguments decide here.
//
// # Files
//
// Job.Dir holds checkpoint.pt (parameters, target network, moments, position, history; replaced after each epoch and when the run is
// interrupted), pretrain.csv (epoch, lr, momentum, loss, spread) and speed.csv. Everything random is keyed by seed, epoch and position,
// so a run that finds its checkpoint ends with the same bytes as one never interrupted.
//
// # Not here
//
// Several processes, float16, accumulation over parts of a batch (the methods compare the images of one batch), multi-crop.
package selfsup
