// Reads files as the original registrar did, with HashiCorp's own parser.
//
// Reads golden.tsv from standard input and writes it again with fresh results: for each line the text, and what is in it,
// as a list in JSON of every value with the keys and labels that lead to it; "!" if it is refused. Backslash, tab and
// newline are escaped. Each line is answered at once, so that a fuzzer can ask.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

var unescape = strings.NewReplacer("\\\\", "\\", "\\t", "\t", "\\n", "\n", "\\r", "\r", "\\0", "\x00")

// leaf is a value and the way to it.
type leaf struct {
	path  []string
	value string
}

type leaves []leaf

func (l leaves) MarshalJSON() ([]byte, error) {
	rows := make([][]string, 0, len(l))
	for _, leaf := range l {
		rows = append(rows, append(leaf.path, leaf.value))
	}
	return json.Marshal(rows)
}

func (l *leaves) add(path []string, value string) { *l = append(*l, leaf{path, value}) }

func (l *leaves) object(path []string, list *ast.ObjectList) {
	if len(list.Items) == 0 {
		l.add(path, "{}")
	}
	for _, item := range list.Items {
		to := append([]string{}, path...)
		for _, key := range item.Keys {
			to = append(to, key.Token.Value().(string))
		}
		l.value(to, item.Val)
	}
}

func (l *leaves) value(path []string, node ast.Node) {
	switch node := node.(type) {
	case *ast.ObjectType:
		l.object(path, node.List)
	case *ast.ListType:
		if len(node.List) == 0 {
			l.add(path, "[]")
		}
		for _, element := range node.List {
			if object, ok := element.(*ast.ObjectType); ok {
				l.object(path, object.List)
				continue
			}
			l.value(append(append([]string{}, path...), "[]"), element)
		}
	case *ast.LiteralType:
		switch value := node.Token.Value().(type) {
		case string:
			l.add(path, "s:"+value)
		case bool:
			l.add(path, fmt.Sprintf("b:%v", value))
		case int64:
			l.add(path, fmt.Sprintf("i:%d", value))
		case float64:
			l.add(path, fmt.Sprintf("f:%d", math.Float64bits(value)))
		}
	default:
		panic(fmt.Sprintf("%T", node))
	}
}

func read(text string) (found leaves, err error) {
	// Values that are none make the parser panic.
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("%v", why)
		}
	}()
	file, err := hcl.Parse(text)
	if err != nil {
		return nil, err
	}
	root, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, errors.New("no object")
	}
	for _, item := range root.Items {
		found.object(nil, &ast.ObjectList{Items: []*ast.ObjectItem{item}})
	}
	return found, nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "## ") {
			fmt.Println(line)
			continue
		}
		text, _, _ := strings.Cut(line, "\t")
		result := "!"
		if found, err := read(unescape.Replace(text)); err == nil {
			encoded, err := json.Marshal(found)
			if err != nil {
				panic(err)
			}
			result = string(encoded)
		}
		fmt.Printf("%s\t%s\n", text, result)
	}
}
