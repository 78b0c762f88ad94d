// Package data turns folders and arrays of images into what a network sees, bit for bit as the networks' own
// preprocessing (timm on Pillow) does.
//
//	Folder         which images there are, their classes, in one fixed order; OpenFolder
//	Subset         a part of them, chosen by hashing names; Folder.Select
//	EvalTransform  resize of the short side and centre crop; Load applies it on all cores
//	Set            the images in memory or in a memory-mapped cache, as bytes, with labels, names and digests
//	Images         what training draws from: a Set, or the files of a Folder
//	Stream         shuffled, augmented training batches, a pure function of seed, epoch and position
//	ReadNPY ...    NumPy files
//
// # Layouts
//
// OpenFolder takes a folder that is one split or holds splits by name (val, also called validation; train; any other), or
// a tar file in the place of either. A split is one of
//
//	CLASS/FILE            class folders, files at any depth, symbolic links followed
//	CLASS.tar             one archive per class, as in ImageNet's training set
//	split.tar             CLASS/FILE, CLASS.tar or FILE in it; also ILSVRC2012_img_val.tar
//	FILE and a list       "FILE CLASS" on each line; classes that are all numbers are the labels
//	images*.npy           uint8 [N,H,W,3], with the labels in labels*.npy, int64 [N]
//
// Archives are not unpacked: their members' places are listed once (and kept in FolderOptions.IndexDir until size or time of
// the archive change), and each image is one read. Classes are numbered by the byte order of their names, which for ImageNet's
// synsets is the order of every network's outputs; a class map ("CLASS INDEX" on each line) replaces that. The challenge
// kit's numbers 1..1000 are another order: CheckClasses refuses them. CheckOrder notices a network with another order by
// its predictions.
//
// # Loading
//
// LoadAll decodes on all cores, each image once for all transforms, and keeps the results as bytes, one file per
// transform, which every model with that transform maps. Set.Content identifies the pixels. A list is written in parts, so
// that a killed program loses seconds; every byte is verified when a file of an earlier run is opened; what a batch has read is
// given back to the system, so that memory does not grow with the list. Loading ends before the attack begins, because the
// identity of the pixels is part of every key: one core makes about 100 images a second under all fifteen transforms of
// the zoo (500x375 photographs), so 5,000 images are less than a minute of it. Training, whose images change every
// epoch, has a loader that works beside it: Stream.
//
// # Evaluation transform
//
// For input size I and crop fraction p: s = floor(I/p); the short side becomes s and the long side int(s·long/short);
// the centre crop of I x I starts at round((h-I)/2), half to even (Python's rounding); a side shorter than I is padded
// with black first, floor(d/2) before and ceil(d/2) after. Pixels stay bytes; Float32 divides by 255 (the division, not
// a multiplication by 1/255, which differs in the last bit) and leaves mean and deviation to the network's first layer,
// so that epsilon is in pixel units. Sources: timm 0.6.7 and 1.0.31, torchvision 0.26, and DeiT's evaluation, which is
// the same rule. Decoding and resize are package codec's. testdata/files.tar holds some hundred files of every kind,
// which give the same bytes as timm on Pillow under every transform of the zoo.
//
// # The subset
//
// The paper evaluates "10% of the validation images" without saying which. Here an image's rank is the SHA-256 of
// "satgo-subset/1:<salt>:<file name>": independent of directory order, platform and generator. Per class, the smallest
// round(fraction·n) are kept. Subsets of one salt are nested. Set.Digest identifies the list; similarity values from
// different digests must not be mixed.
//
// # Random numbers
//
// Training order and augmentation come from package rng with streams "order", "crop", "flip", "augment" and "jitter",
// addressed by (epoch) and by (epoch, position): neither the number of goroutines nor resuming inside an epoch changes a
// byte. The crop is drawn as soon as a file's size is known, and of a JPEG only the blocks it needs are decoded. What an augmentation does to pixels is package augment's.
//
// # Differences from the libraries it follows
//
// torchvision counts the same file extensions but skips other files silently; so does this package, and it also skips
// hidden files (names beginning with a dot), because archives made on a Mac hold such files named like images. A loop of
// symbolic links is an error here. The format is told by the first bytes, never by the extension. EXIF rotation is ignored, as there.
//
// A name that is not UTF-8 is an error, because result files refer to images by name.
//
// Not here: resizing of float tensors (package torch), compressed archives.
package data
