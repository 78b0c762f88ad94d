// Package codec turns the bytes of a JPEG or PNG file into 8-bit RGB and resizes such images, with exactly the bytes
// that Pillow gives (Image.open(f).convert("RGB") and Image.resize). Equal bytes matter here: an adversarial
// perturbation is a few units of 1/255, so two decoders that differ by one unit are two different experiments.
//
// # JPEG
//
// libjpeg-turbo through its classic API with default settings: accurate integer DCT, "fancy" chroma upsampling, no
// scaling, RGB output. These are Pillow's settings. Grey is replicated. CMYK and YCCK are decoded to CMYK, taken as
// inverted (Adobe's convention, which Pillow assumes too) and converted with Pillow's integer formula. A file that
// ends before its end marker is an error in the library's own words, as in Pillow; what the library only warns about
// (bytes between markers, damaged entropy data that it papers over) is decoded and counted.
//
// Decoder.DecodePart transforms only the blocks that a crop needs and one around them, whose samples the chroma of the crop's
// edges is enlarged from: the same bytes for less work, since training crops half an image away on average.
//
// # PNG
//
// The standard library's decoder, with Pillow's reading of the colour types: grey is replicated, alpha is dropped
// without compositing or (un)premultiplying, palettes are expanded and their transparency ignored. 16-bit files are
// refused, because reducing them is a choice that nobody made.
//
// # Resize
//
// Pillow's two-pass convolution with 22-bit fixed-point weights and 8-bit intermediate result. For one axis from n to
// m samples and a filter of support S:
//
//	scale = n/m;  fs = max(scale, 1);  sup = S·fs
//	output i has centre c = (i+0.5)·scale and reads lo = max(0, int(c-sup+0.5)) up to hi = min(n, int(c+sup+0.5))
//	w[j] = f((j+lo-c+0.5)/fs), divided by their sum;  k[j] = w[j]·2²² rounded half away from zero
//	sample = clip((2²¹ + Σ k[j]·pixel[lo+j]) >> 22, 0, 255)
//
// Horizontal pass first, always; Pillow from version 11 on runs the vertical pass first for some tall images, whose
// bytes then differ by a few units. Only the part of the output that the caller wants (a centre crop, usually) is
// computed; each sample depends on nothing but its own inputs, so that changes no byte.
//
// # Without cgo
//
// JPEG returns ErrUnavailable. PNG and the resize work, in Go, with the same bytes.
//
// What it does not do: EXIF rotation (Pillow's loaders ignore it too), colour profiles, other formats, DCT scaling.
package codec
