// Package boundary measures how alike the decision boundaries of two classifiers are: the share of points, on planes
// through three images, that both assign to the same class (Somepalli et al., "Can neural nets learn the same model twice?
// Investigating reproducibility and double descent from the decision boundary perspective", CVPR 2022). It is the measure
// that SAT is compared with. The package is pure Go, knows models only as an attacks.LogitsFunc, and reads and writes no
// files.
//
// # One triplet
//
// Triplet r is drawn from the random stream of seed+r, so that every model sees the same ones: three images with three
// different labels, uniformly, an image whose label is taken being drawn again (Draw). They span a plane, in float64:
//
//	u = x2-x1        e1 = u/|u|      x1 = (0, 0)
//	v = x3-x1        c  = e1·v       x2 = (|u|, 0)
//	w = v - c·e1     h  = |w|        x3 = (c, h)
//	                 e2 = w/h
//
// (Span; |u| < 1e-6 or h < 1e-6 |v| is degenerate and another triplet takes its place). The box about the three is widened
// by Margin, a tenth, of its length at both ends of both axes, and carries Grid x Grid points, 50 x 50, evenly spaced with
// both ends included, the first axis outermost (Points). A point x1 + a·e1 + b·e2 is rounded to float32 and not clipped to
// [0,1]. The class of each is the largest logit, the first of equals (ClassMaps).
//
// # The score
//
// agreement(A,B) is the share of points with the same class, pooled over the triplets (Agree). It is symmetric and 1 for a
// model and itself. Chance is not 0: two constant models agree everywhere or nowhere.
//
// A class map belongs to one model and one plane. Maps are made once per model and compared for every pair, so M models
// cost M and not M² times the 500 x 2,500 passes of the original; and a map is 2,500 small numbers, while the images of a
// plane are never in memory together.
//
// # Models of different input size and normalisation
//
// The plane is built in pixel space, from one image for all models. Resizing is linear, so a model of another size is shown
// the plane through the three resized images, with the coordinates of the original plane: no grid image is ever resized, and
// up to rounding nothing changes. Models normalise inside.
//
// The dbViz project builds its planes in the normalised space of a data set, where lengths weigh a channel by 1/std². The
// mean cancels, so Options.Std alone reproduces that: it changes the lengths |u|, c and h, and with them the box; the plane
// as a set of images stays the same.
//
// dbViz draws its images from one global generator; here they are keyed by the number of the triplet.
package boundary
