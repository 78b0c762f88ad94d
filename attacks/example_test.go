package attacks_test

import (
	"context"
	"fmt"

	"sat/attacks"
)

// scale is a two-class model over one grey pixel: bright images are class 1, dark ones class 0.
type scale struct{}

func (scale) Logits(_ context.Context, x attacks.Batch) ([]float32, error) {
	var z []float32
	for i := range x.N {
		z = append(z, 0, x.Image(i)[0]-0.5)
	}
	return z, nil
}

func (s scale) LossGrad(ctx context.Context, x attacks.Batch, y, targets []int64, loss attacks.Loss) (attacks.Gradient, error) {
	z, err := s.Logits(ctx, x)
	g := attacks.Gradient{Pixels: make([]float32, x.N), Logits: z, Loss: make([]float32, x.N)}
	for i, label := range y {
		other := 1 - label
		value, err := loss.Value(z[2*i:2*i+2], label, other)
		if err != nil {
			return attacks.Gradient{}, err
		}
		g.Loss[i] = float32(value)
		g.Pixels[i] = float32(other - label) // of the difference of logits; the cross-entropy's has the same sign
	}
	return g, err
}

func ExamplePGD_Run() {
	x := attacks.Batch{Pixels: []float32{0.51, 0.9}, N: 2, C: 1, H: 1, W: 1}
	y := []int64{1, 1}
	r, err := attacks.Defaults().Run(context.Background(), scale{}, x, y, []string{"grey", "white"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range x.N {
		fmt.Printf("%.4f -> %.4f, fooled: %v\n", x.Image(i)[0], r.Adversarial.Image(i)[0], r.Fooled[i])
	}
	// Output:
	// 0.5100 -> 0.4786, fooled: true
	// 0.9000 -> 0.8686, fooled: false
}

func ExampleAutoAttack_Run() {
	x := attacks.Batch{Pixels: []float32{0.51, 0.9, 0.2}, N: 3, C: 1, H: 1, W: 1}
	y := []int64{1, 1, 1}
	a := attacks.DefaultAutoAttack()
	a.Queries = 100
	r, err := a.Run(context.Background(), scale{}, x, y, []string{"grey", "white", "black"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("correct:", r.Correct)
	for _, stage := range r.Stages {
		fmt.Printf("robust after %s: %v\n", stage.Name, stage.Robust)
	}
	// Output:
	// correct: [true true false]
	// robust after apgd-ce: [false true false]
	// robust after apgd-t: [false true false]
	// robust after fab-t: [false true false]
	// robust after square: [false true false]
}

// Every attack is an Attacker: settings in a struct, one call, one kind of result. Here each looks for an image within 0.03 of
// one that is 0.01 away from the boundary.
func ExampleAttacker() {
	x := attacks.Batch{Pixels: []float32{0.51}, N: 1, C: 1, H: 1, W: 1}
	pgd, apgd, fab, square := attacks.Defaults(), attacks.DefaultAPGD(), attacks.DefaultFAB(), attacks.DefaultSquare()
	pgd.Epsilon, apgd.Epsilon, fab.Epsilon, square.Epsilon = 0.03, 0.03, 0.03, 0.03
	fab.Targets = 1
	for _, a := range []attacks.Attacker{pgd, apgd, fab, square} {
		r, err := a.Run(context.Background(), scale{}, x, []int64{1}, []string{"grey"}, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %.3f, fooled %v\n", a.Name(), r.Adversarial.Pixels[0], r.Fooled[0])
	}
	// Output:
	// pgd: 0.480, fooled true
	// apgd-ce: 0.480, fooled true
	// fab-t: 0.500, fooled true
	// square: 0.480, fooled true
}

// Diagnose says what is wrong with a model before an attack is spent on it: scale returns the direction of its gradient, not
// its length.
func ExampleDiagnose() {
	x := attacks.Batch{Pixels: []float32{0.2, 0.9, 0.6, 0.1, 0.8, 0.3, 0.7, 0.95}, N: 8, C: 1, H: 1, W: 1}
	y := []int64{0, 1, 1, 0, 1, 0, 1, 1}
	ids := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	findings, err := attacks.Diagnose(context.Background(), scale{}, x, y, ids)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range findings {
		if f.Check == "determinism" || f.Check == "slope" {
			fmt.Printf("%s: %v\n", f.Check, f.Status)
		}
	}
	// Output:
	// determinism: ok
	// slope: failed
}

// print is a Writer that shows what it is given.
type print struct{}

func (print) WriteTransfer(source string, predicted []int64) error {
	fmt.Println(source, predicted)
	return nil
}

func ExampleTransfer() {
	made := attacks.Batch{Pixels: []float32{0.2, 0.6, 0.8}, N: 3, C: 1, H: 1, W: 1}
	err := attacks.Transfer(context.Background(), scale{}.Logits, []attacks.Source{{Name: "A", Images: made}}, 64, print{}, nil)
	if err != nil {
		fmt.Println(err)
	}
	// Output: A [0 1 1]
}
