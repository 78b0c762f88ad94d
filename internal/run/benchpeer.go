package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is a script of scripts/peers waiting for its next turn.
type peer struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	lines  *bufio.Reader
	peakMB float64
}

// startPeer starts scripts/peers/NAME in the peers' environment and waits until it is ready.
func startPeer(ctx context.Context, home, name string, args ...string) (*peer, error) {
	python := filepath.Join(home, "third_party", "peers", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return nil, fmt.Errorf("%w: no peer environment at %s; \"scripts/setup.sh peers\" makes it", ErrEnvironment, python)
	}
	cmd := exec.CommandContext(ctx, python, append([]string{script(home, "peers/"+name)}, args...)...)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &peer{cmd: cmd, input: input, lines: bufio.NewReader(output)}
	if line, err := p.lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "ready") {
		p.stop()
		return nil, errors.New("the peer did not start; its complaint is above")
	}
	return p, nil
}

// do has the peer repeat its work. Behind what it took, the peer says what the work came to: one number for each of outcome.
func (p *peer) do(steps int, outcome ...any) (turn, error) {
	if _, err := fmt.Fprintln(p.input, steps); err != nil {
		return turn{}, err
	}
	var t turn
	var kib float64
	_, err := fmt.Fscanln(p.lines, append([]any{&t.wall, &t.cpu, &kib}, outcome...)...)
	p.peakMB = kib * 1024 / 1e6
	return t, err
}

func (p *peer) stop() {
	_ = p.input.Close() // ends its loop
	_ = p.cmd.Wait()
}
