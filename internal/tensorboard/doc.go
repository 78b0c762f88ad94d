// Package tensorboard writes the event files that TensorBoard shows, as far as training needs them: scalars over steps.
//
// A file is a sequence of records (TFRecord):
//
//	length   uint64, little-endian
//	crc      uint32, masked CRC-32C of the eight bytes of the length
//	data     an Event
//	crc      uint32, masked CRC-32C of the data
//
// where mask(c) = (c rotated right by 15 bits) + 0xa282ead8 modulo 2³², and the polynomial is Castagnoli's. An Event is a protocol
// buffer (tensorflow/core/util/event.proto) with the fields wall_time = 1 (double, seconds), step = 2 (int64), file_version = 3
// (string, in the first event only) and summary = 5; a Summary (summary.proto) has values = 1, each with tag = 1 (string) and
// simple_value = 2 (float). Fields are written in the order of their numbers and left out where they are zero, as the
// protobuf library does, so the bytes equal those of TensorBoard's own writer: testdata/events.json has some of them.
//
// No library for this is kept up in Go; the format has not changed since 2015.
//
// Append and Cut make a file that survives interruptions: Cut shortens a file to the events before some point, also when the
// program was killed in the middle of a record, and whoever resumes there appends what comes after.
//
// Not here: histograms, images and text.
package tensorboard
