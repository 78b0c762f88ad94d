package data

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sat/internal/store"
)

// archive is a tar file whose members are read in place.
type archive struct {
	path    string
	members []member
}

// member is a file or, with a size of -1, a folder in an archive. The members of an archive in the archive, as in ImageNet's
// training set, are named as if it were a folder without the ending.
type member struct {
	Name string `json:"n"` // slash-separated, without "./" in front
	From int64  `json:"f"`
	Size int64  `json:"s"`
}

const folderSize = -1

// archiveStem returns the name without the ending of a tar file, also of a compressed one: those are refused with advice
// when they are opened.
func archiveStem(name string) (stem string, ok bool) {
	for _, ending := range []string{".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"} {
		if cut := len(name) - len(ending); cut > 0 && strings.EqualFold(name[cut:], ending) {
			return name[:cut], true
		}
	}
	return "", false
}

// IsArchive reports whether the file is named like a tar file, which OpenFolder takes for a folder.
func IsArchive(path string) bool {
	_, ok := archiveStem(filepath.Base(path))
	return ok
}

// openArchive lists the members of a tar file. Listing reads a header per member from all over the file, which takes
// minutes on a slow disk, so the list is kept in indexDir, if that is given, for as long as the file does not change.
func openArchive(ctx context.Context, file, indexDir string) (*archive, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: neither a folder nor a tar file", file)
	}
	of := indexed{Archive: file, Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if absolute, err := filepath.Abs(file); err == nil {
		of.Archive = absolute
	}
	index := ""
	if indexDir != "" {
		name := sha256.Sum256([]byte(of.Archive))
		index = filepath.Join(indexDir, hex.EncodeToString(name[:8])+".tarindex")
		if content, err := os.ReadFile(index); err == nil {
			// An index that is damaged or of another file is as good as none.
			if members, err := parseIndex(content, of); err == nil {
				return &archive{file, members}, nil
			}
		}
	}
	members, err := listArchive(ctx, in, info.Size())
	if err != nil {
		return nil, fmt.Errorf("archive %s %w", file, err)
	}
	if index != "" {
		content, err := formatIndex(members, of)
		if err == nil {
			err = store.WriteBytes(index, content)
		}
		if err != nil {
			return nil, fmt.Errorf("index of archive %s: %w", file, err)
		}
	}
	return &archive{file, members}, nil
}

// An index file is a line with a version and the SHA-256 of the rest, which is JSON.
const indexMagic = "sat tar index 1 "

// indexed is the content of an index file. A tar file of another size or time of change has another index.
type indexed struct {
	Archive  string   `json:"archive"`
	Size     int64    `json:"size"`
	Modified int64    `json:"modified_ns"`
	Members  []member `json:"members"`
}

func formatIndex(members []member, of indexed) ([]byte, error) {
	of.Members = members
	body, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return append([]byte(indexMagic+hex.EncodeToString(sum[:])+"\n"), body...), nil
}

// parseIndex returns the members listed in an index file of the given archive.
func parseIndex(content []byte, of indexed) ([]member, error) {
	head, body, ok := bytes.Cut(content, []byte("\n"))
	sum := sha256.Sum256(body)
	if !ok || string(head) != indexMagic+hex.EncodeToString(sum[:]) {
		return nil, errors.New("not an intact index")
	}
	var have indexed
	if err := json.Unmarshal(body, &have); err != nil {
		return nil, err
	}
	if have.Archive != of.Archive || have.Size != of.Size || have.Modified != of.Modified {
		return nil, errStale
	}
	for _, m := range have.Members {
		if m.Size != folderSize && (m.From < 0 || m.Size < 0 || m.From > of.Size-m.Size) {
			return nil, fmt.Errorf("member %q lies outside the archive", m.Name)
		}
	}
	return have.Members, nil
}

// compressions are told by their first bytes.
var compressions = []struct{ magic, name, tool string }{
	{"\x1f\x8b", "gzip", "gunzip"}, {"BZh", "bzip2", "bunzip2"}, {"\xfd7zXZ\x00", "xz", "unxz"}, {"\x28\xb5\x2f\xfd", "Zstandard", "unzstd"},
}

// listArchive reads the headers of a tar file of the given size.
func listArchive(ctx context.Context, in io.ReaderAt, size int64) ([]member, error) {
	l := lister{ctx: ctx, in: in, place: map[string]int{}}
	if err := l.list("", 0, size); err != nil {
		return nil, err
	}
	if err := l.follow(); err != nil {
		return nil, err
	}
	return l.members, nil
}

var errNotTar = errors.New("is neither a folder nor a tar file")

type lister struct {
	ctx     context.Context
	in      io.ReaderAt
	members []member
	place   map[string]int // index of a name in members
	links   []link
}

// link is a member that stands for another one.
type link struct{ name, target string }

func (l *lister) list(prefix string, from, size int64) error {
	section := io.NewSectionReader(l.in, from, size)
	head := make([]byte, 8)
	n, _ := section.ReadAt(head, 0)
	for _, c := range compressions {
		if bytes.HasPrefix(head[:n], []byte(c.magic)) {
			return fmt.Errorf("is compressed with %s; images are read from where they lie in it, so decompress it first (%s)", c.name, c.tool)
		}
	}
	r := tar.NewReader(section)
	last, end := "", int64(0)
	for {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		header, err := r.Next()
		at, seekErr := section.Seek(0, io.SeekCurrent) // where the member's content begins
		if seekErr != nil {
			return seekErr
		}
		switch {
		case err == io.EOF && at <= end: // tar ends with blocks of zeros
			if last == "" {
				return errNotTar
			}
			return fmt.Errorf("is truncated: it ends without an end mark after %q", last)
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF) && last != "":
			return fmt.Errorf("is truncated: it ends in %q or right after", last)
		case err != nil && last == "":
			return errNotTar
		case err != nil:
			return fmt.Errorf("is damaged after %q: %w", last, err)
		}
		last = header.Name
		end = at + (header.Size+511)/512*512
		if err := l.add(prefix, header, from+at); err != nil {
			return err
		}
	}
}

// add takes in one member whose content begins at from.
func (l *lister) add(prefix string, header *tar.Header, from int64) error {
	clean := path.Clean("/" + header.Name)[1:]
	if clean == "" || hidden(clean) {
		return nil
	}
	name := path.Join(prefix, clean)
	if err := checkName(name); err != nil {
		return fmt.Errorf("holds %w", err)
	}
	switch header.Typeflag {
	case tar.TypeDir:
		l.put(member{name, 0, folderSize})
	case tar.TypeSymlink:
		l.links = append(l.links, link{name, path.Join(path.Dir(name), header.Linkname)})
	case tar.TypeLink:
		l.links = append(l.links, link{name, path.Join(prefix, path.Clean("/" + header.Linkname)[1:])})
	case tar.TypeReg:
		if stem, ok := archiveStem(clean); ok {
			if prefix != "" {
				return fmt.Errorf("holds %q, an archive in an archive in an archive", name)
			}
			l.put(member{stem, 0, folderSize})
			if err := l.list(stem, from, header.Size); err != nil {
				return fmt.Errorf("holds %s, which %w", clean, err)
			}
			return nil
		}
		for record := range header.PAXRecords {
			if strings.HasPrefix(record, "GNU.sparse.") {
				return fmt.Errorf("holds %q as a sparse file, which cannot be read in place; make the archive again without --sparse", name)
			}
		}
		l.put(member{name, from, header.Size})
	case tar.TypeGNUSparse:
		return fmt.Errorf("holds %q as a sparse file, which cannot be read in place; make the archive again without --sparse", name)
	}
	return nil
}

// put adds a member. One of the same name replaces the former, as it would on unpacking.
func (l *lister) put(m member) {
	if i, ok := l.place[m.Name]; ok {
		l.members[i] = m
		return
	}
	l.place[m.Name] = len(l.members)
	l.members = append(l.members, m)
}

// follow turns links to files into members of their own. Links to anything but a file in the archive are an error if
// they are named like an image.
func (l *lister) follow() error {
	targets := map[string]string{}
	for _, k := range l.links {
		targets[k.name] = k.target
	}
	for _, k := range l.links {
		if !isImageName(k.name) {
			continue
		}
		target := k.target
		for hops := 0; targets[target] != "" && hops < len(l.links); hops++ {
			target = targets[target]
		}
		i, ok := l.place[target]
		if !ok || l.members[i].Size == folderSize {
			return fmt.Errorf("holds %q, a link to %q, which is not a file in it", k.name, k.target)
		}
		l.put(member{k.name, l.members[i].From, l.members[i].Size})
	}
	return nil
}

// hidden reports whether a part of the name begins with a dot.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}
