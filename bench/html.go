package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"mb":    megabytes,
	"after": func(x float64) float64 { return x + 6 },
}).Parse(page))

// section is one load on the page.
type section struct {
	Load    string
	Charts  []chart
	Results []result
}

// writeHTML writes one page that needs nothing else: styles and drawings are in it.
func writeHTML(w io.Writer, r report) error {
	data := struct {
		About    about
		Sections []section
	}{About: r.About}
	for start := 0; start < len(r.Results); {
		end := start
		for end < len(r.Results) && r.Results[end].Load == r.Results[start].Load {
			end++
		}
		some := r.Results[start:end]
		data.Sections = append(data.Sections, section{
			Load: some[0].Load, Results: some,
			Charts: []chart{draw(throughput, some), draw(latency, some), draw(processor, some)},
		})
		start = end
	}
	if err := pageTemplate.Execute(w, data); err != nil {
		return fmt.Errorf("draw report: %w", err)
	}
	return nil
}
