// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// words describes the constants of the API that users meet.
func words(folder string) (string, error) {
	var b strings.Builder
	b.WriteString("# Conditions, reasons, annotations\n\n" +
		"The words of the API. [Troubleshooting](../troubleshooting.md) says what to do about a reason, [Secrets](../secrets.md) what the Secret holds.\n")
	for _, list := range []struct{ title, file, prefix, column string }{
		{"Condition types", "conditions.go", "Condition", "type"},
		{"Reasons", "conditions.go", "Reason", "reason"},
		{"Annotations and labels", "annotations.go", "Annotation,Label,Finalizer", "name"},
	} {
		found, err := constants(filepath.Join(folder, list.file), strings.Split(list.prefix, ","))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n## %s\n\n| %s | meaning |\n|---|---|\n", list.title, list.column)
		for _, c := range found {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(prose(c.comment)))
		}
	}
	return b.String(), nil
}

type constant struct{ value, comment string }

// constants are those of a file whose names begin with one of the prefixes, in the order of the file. The name is cut from the comment.
func constants(name string, prefixes []string) ([]constant, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var found []constant
	ast.Inspect(file, func(n ast.Node) bool {
		declaration, ok := n.(*ast.GenDecl)
		if !ok || declaration.Tok != token.CONST {
			return true
		}
		for _, s := range declaration.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				continue
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || !hasPrefix(spec.Names[0].Name, prefixes) {
				continue
			}
			value, _ := strconv.Unquote(literal.Value) // the parser has read it
			comment := spec.Doc.Text()
			if comment == "" {
				comment = declaration.Doc.Text()
			}
			comment = strings.TrimPrefix(comment, spec.Names[0].Name)
			found = append(found, constant{value, strings.TrimLeft(comment, ": ,")})
		}
		return false
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no constants of %v", name, prefixes)
	}
	return found, nil
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
