// Renders templates with Go's own text/template.
//
// Reads golden.tsv from standard input and writes it again with fresh results: for each line its kind, the template, and
// what the two pods below make of it, "=" and the text or "!" for an error. Backslash, tab and newline are escaped.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"text/template"
)

type pod struct {
	UID, Name, Namespace, ServiceAccount, Hostname, NodeName string
}

type data struct {
	Context map[string]string
	Pod     pod
}

var pods = []pod{
	{"8c4ddf2e-01f2-4b26-b4dd-bd2bf1f3a9a1", "web-0", "prod", "blog", "", "node-1"},
	{"b1946ac9-2492-4d34-8f3e-0a2b1c3d4e5f", "db-1", "default", "default", "db-host", "node-2.example"},
}

var context = map[string]string{
	"Region":      "EU-DE",
	"ClusterName": "MYCLUSTER",
	"Empty":       "",
	"prod":        "production",
	"ä":           "umlaut",
	"Markup":      `<a href="x">&'</a>`,
}

var (
	escape   = strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0")
	unescape = strings.NewReplacer("\\\\", "\\", "\\t", "\t", "\\n", "\n", "\\r", "\r", "\\0", "\x00")
)

func render(text string, pod pod) string {
	parsed, err := template.New("t").Parse(text)
	if err != nil {
		return "!"
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data{context, pod}); err != nil {
		return "!"
	}
	return "=" + escape.Replace(out.String())
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Println(line)
			continue
		}
		columns := strings.Split(line, "\t")
		out := columns[:2]
		for _, pod := range pods {
			result := strings.ToValidUTF8(render(unescape.Replace(columns[1]), pod), "\uFFFD")
			if runes := []rune(result); columns[0] == "strict" && len(runes) > 60 {
				result = string(runes[:60]) + "..."
			}
			out = append(out, result)
		}
		fmt.Println(strings.Join(out, "\t"))
	}
}
