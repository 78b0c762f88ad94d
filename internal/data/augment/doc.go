// Package augment changes training images at random as timm and DeiT do, byte for byte as Pillow computes it.
//
//	Crop        the part of an image that a random resized crop takes (a rectangle; package codec resizes it)
//	Policy      RandAugment: which operations, how strong; ParsePolicy reads timm's "rand-m9-mstd0.5-inc1"
//	Jitter      brightness, contrast, saturation and hue in random order
//	Colour      what contrastive methods do to a view: jitter, grey, blur, solarise
//	Erasing     the box that random erasing fills
//	Mixing      mixup and CutMix of a batch: share and box
//
// What is drawn and what it does are apart. A draw comes from a rng.Stream that the caller addresses by (seed, epoch,
// position), so results do not depend on workers or on resuming; an operation is a function of pixels and numbers, which
// is compared with Pillow.
//
// # Arithmetic
//
// Images are 8-bit RGB. Operations by table (AutoContrast, Equalize, Invert, Posterize, Solarize, SolarizeAdd) are
// integer. The enhancements blend the image with a degenerate one (grey, its mean, black, smoothed) in float32,
// v = a + f(b-a), truncated and clipped. Rotation, shear and translation sample at the pixel that the inverse map names,
// in float64: bilinear, or the cubic with a = -1 that Pillow uses here (its resize uses a = -1/2). Formulas: Pillow 9.5,
// ImageOps, ImageEnhance, Geometry.c, Filter.c; ranges of the arguments: timm 1.0.31, auto_augment.py. Go must not fuse
// products and sums, so products are converted explicitly.
//
// Pillow 13 refuses to keep 0 bits in Posterize, which timm's increasing policy asks for in about 2 % of the draws of
// that operation; as in the paper's time the result is black.
//
// The Gaussian blur is Pillow's: three extended box filters each way in 24-bit fixed point (BoxBlur.c). The hue turns in
// Pillow's HSV of bytes, as torchvision does it.
//
// # Draws
//
// A policy draws its operations with replacement and applies each with probability 1/2. The magnitude of an application
// is normal around the policy's, clipped to [0, 10]; a sign is minus with probability 1/2. Python's generators are not
// reproduced.
package augment
