// Judges metrics, alerts and a dashboard by Prometheus' own parsers.
//
// Reads one JSON object from standard input: "described", the metrics that the program says it has; "expositions", what
// /metrics answered, with its content type; "rules", a file of Prometheus rules; and "dashboard", one of Grafana.
// Prints every problem on a line of its own. Without any, it prints how much it has looked at, and nothing else.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"
)

// metric is one that the program describes.
type metric struct {
	Name, Kind, Help string
	Labels           []string
}

type input struct {
	Described   []metric
	Expositions []struct{ ContentType, Text string }
	Rules       string
	Dashboard   json.RawMessage
}

// What Prometheus adds to every series of a target.
var target = []string{"instance", "job", "namespace", "pod", "container"}

var problems []string

func problem(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

// family is the described metric that a series belongs to, and the labels that such a series has.
func (in *input) family(series string) (metric, []string, bool) {
	for _, m := range in.Described {
		if m.Kind != "histogram" && m.Name == series {
			return m, m.Labels, true
		}
		if m.Kind == "histogram" {
			switch strings.TrimPrefix(series, m.Name) {
			case "_bucket":
				return m, append(slices.Clone(m.Labels), "le"), true
			case "_sum", "_count":
				return m, m.Labels, true
			}
		}
	}
	return metric{}, nil, false
}

// exposition reads what /metrics answered as Prometheus does when it scrapes; returns the number of series.
func (in *input) exposition(contentType, text string) int {
	scrape, err := textparse.New([]byte(text), contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		problem("content type %q: %v", contentType, err)
		return 0
	}
	series := map[string]bool{}
	for {
		entry, err := scrape.Next()
		if errors.Is(err, io.EOF) {
			return len(series)
		}
		if err != nil {
			problem("the exposition cannot be read: %v", err)
			return len(series)
		}
		switch entry {
		case textparse.EntryType:
			name, kind := scrape.Type()
			if !slices.ContainsFunc(in.Described, func(m metric) bool {
				return strings.TrimSuffix(m.Name, "_total") == string(name) && m.Kind == string(kind)
			}) {
				problem("%s is exposed as a %s, and not described as one", name, kind)
			}
		case textparse.EntrySeries:
			var found labels.Labels
			scrape.Labels(&found)
			name := found.Get(labels.MetricName)
			_, known, ok := in.family(name)
			if !ok {
				problem("%s is exposed and not described", name)
			}
			var names []string
			found.Range(func(l labels.Label) {
				if l.Name != labels.MetricName {
					names = append(names, l.Name)
				}
			})
			if slices.Sort(names); ok && !slices.Equal(names, slices.Sorted(slices.Values(known))) {
				problem("%s has the labels %v, and not %v", name, names, known)
			}
			if series[found.String()] {
				problem("%s is exposed twice", found)
			}
			series[found.String()] = true
		}
	}
}

// lint asks Prometheus' linter about names, units and help texts.
func (in *input) lint() {
	var families []*dto.MetricFamily
	for _, m := range in.Described {
		kind := map[string]dto.MetricType{
			"gauge": dto.MetricType_GAUGE, "counter": dto.MetricType_COUNTER, "histogram": dto.MetricType_HISTOGRAM,
		}[m.Kind]
		one := &dto.Metric{}
		for _, name := range m.Labels {
			value := "x"
			one.Label = append(one.Label, &dto.LabelPair{Name: &name, Value: &value})
		}
		families = append(families, &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: &kind, Metric: []*dto.Metric{one}})
	}
	found, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		problem("lint: %v", err)
	}
	for _, p := range found {
		problem("%s: %s", p.Metric, p.Text)
	}
}

// query reads a query and holds every metric and label in it against the description.
func (in *input) query(promql parser.Parser, where, text string) {
	expr, err := promql.ParseExpr(text)
	if err != nil {
		problem("%s: %v", where, err)
		return
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, known, ok := in.family(selector.Name)
		if !ok {
			problem("%s: there is no metric %s", where, selector.Name)
			return nil
		}
		known = append(slices.Clone(known), target...)
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != labels.MetricName && !slices.Contains(known, matcher.Name) {
				problem("%s: %s has no label %s", where, selector.Name, matcher.Name)
			}
		}
		rated := false
		for _, above := range path {
			switch above := above.(type) {
			case *parser.AggregateExpr:
				for _, name := range above.Grouping {
					if !slices.Contains(known, name) {
						problem("%s: %s has no label %s", where, selector.Name, name)
					}
				}
				if strings.HasSuffix(selector.Name, "_bucket") && !slices.Contains(above.Grouping, "le") {
					problem("%s: the buckets of %s are summed up without le", where, selector.Name)
				}
			case *parser.Call:
				rated = rated || slices.Contains([]string{"rate", "irate", "increase"}, above.Func.Name)
			}
		}
		if counts := m.Kind != "gauge"; counts != rated {
			problem("%s: %s is a %s: rate is for counters and histograms, and they are for rate", where, selector.Name, m.Kind)
		}
		return nil
	})
}

// expressions finds every "expr" of a dashboard, wherever it stands.
func expressions(value any) (found []string) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if text, ok := value[key].(string); ok && key == "expr" {
				found = append(found, text)
			}
			found = append(found, expressions(value[key])...)
		}
	case []any:
		for _, part := range value {
			found = append(found, expressions(part)...)
		}
	}
	return found
}

func main() {
	var in input
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	in.lint()
	series := 0
	for _, e := range in.Expositions {
		series += in.exposition(e.ContentType, e.Text)
	}
	promql := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.Parse([]byte(in.Rules), false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		problem("rules: %v", err)
	}
	queries := 0
	if len(errs) == 0 {
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				in.query(promql, rule.Alert, rule.Expr)
				queries++
			}
		}
	}
	var dashboard any
	if err := json.Unmarshal(in.Dashboard, &dashboard); err != nil {
		problem("dashboard: %v", err)
	}
	for _, text := range expressions(dashboard) {
		in.query(promql, "dashboard, "+text, text)
		queries++
	}
	for _, p := range problems {
		fmt.Println(p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("%d series, %d queries\n", series, queries)
}
