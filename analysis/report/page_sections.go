package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"html/template"
)

// pageSection is a section as the template sees it.
type pageSection struct {
	ID, Nav, Title, Lead string
	Blocks               []*pageBlock
}

// pageBlock is a block with what only the page adds: the embedded drawing or table.
type pageBlock struct {
	block
	Drawn    *pageFigure
	Rows     [][]pageCell
	CSV      download // of the table
	Inner    []*pageBlock
	Summary  string // of a folded part
	Settings bool   // that part holds settings
}

type pageCell struct {
	cellText
	Number bool
	Mark   template.CSS
}

func (p *page) fillSections(r *Run) {
	if r.Groups == nil {
		p.Missing = append(p.Missing, pageSection{ID: "claim", Title: claimTitle, Lead: noClaim})
	}
	for _, s := range sections {
		if r.sections[s.id] == nil {
			p.Missing = append(p.Missing, pageSection{ID: s.id, Title: s.title, Lead: s.missing()})
			continue
		}
		out := pageSection{ID: s.id, Nav: s.nav, Title: s.title, Lead: s.lead}
		for _, b := range s.shown(r, p.comparisons) {
			out.Blocks = append(out.Blocks, p.block(b))
		}
		p.Sections = append(p.Sections, out)
	}
}

func (p *page) block(b block) *pageBlock {
	out := &pageBlock{block: b}
	switch {
	case b.Figure != nil:
		out.Drawn = p.Figures[b.Figure.Stem]
	case b.Table != nil:
		for _, row := range b.Table.Rows {
			var line []pageCell
			for k, c := range row {
				line = append(line, pageCell{c, b.Table.Columns[k].Number, template.CSS(c.Color)})
			}
			out.Rows = append(out.Rows, line)
		}
		if b.Table.Stem != "" {
			out.CSV = csvDownload(b.Table.Stem, b.Table.CSV)
		}
	case b.Fold != nil:
		out.Summary, out.Settings = b.Fold.Summary, b.Fold.Summary == settingsSummary
		for _, inner := range b.Fold.Blocks {
			out.Inner = append(out.Inner, p.block(inner))
		}
	}
	return out
}

// download is a file that a reader can save from the page.
type download struct {
	Name string
	URL  template.URL
	Size string // of a file beside the page, "" for one that is inside
}

// Files above plainCSV are embedded compressed; what is above largestCSV even then stays beside the page, which would
// else be too large to open with a thousand models.
const (
	plainCSV   = 200 << 10
	largestCSV = 2 << 20
)

func csvDownload(stem string, content []byte) download {
	if len(content) <= plainCSV {
		return download{stem + ".csv", template.URL("data:text/csv;base64," + base64.StdEncoding.EncodeToString(content)), ""}
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(content) // a bytes.Buffer takes everything
	_ = w.Close()
	if packed.Len() > largestCSV {
		return download{stem + ".csv", template.URL("figures/" + stem + ".csv"), fmt.Sprintf("%.0f MB, beside this page", float64(len(content))/1e6)}
	}
	return download{stem + ".csv.gz", template.URL("data:application/gzip;base64," + base64.StdEncoding.EncodeToString(packed.Bytes())), ""}
}
