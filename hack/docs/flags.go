// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"strconv"
	"strings"
)

// flags describes the flags that a program registers, in the order of its source.
func flags(name string) (string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, 0)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Flags of the manager\n\n" +
		"What the operator's program takes, beside `--kubeconfig` and the `--zap-*` flags of its log, which `manager --help` lists. The\n" +
		"[chart](../../charts/devicecert-operator/README.md) sets them from its values; with kustomize, patch the Deployment's `args`.\n\n" +
		"| flag | default | meaning |\n|---|---|---|\n")
	rows := 0
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 4 {
			return true
		}
		function, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasSuffix(function.Sel.Name, "Var") {
			return true
		}
		flag, usage := text(call.Args[1]), text(call.Args[3])
		if flag == "" || usage == "" {
			err = fmt.Errorf("%s: a flag has no name or usage that stands there in quotes", name)
			return false
		}
		fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", flag, fallback(files, call.Args[2]), cell(usage))
		rows++
		return false
	})
	if rows == 0 && err == nil {
		err = fmt.Errorf("%s registers no flags", name)
	}
	return b.String(), err
}

// text is a literal string; empty for anything else.
func text(e ast.Expr) string {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	value, _ := strconv.Unquote(literal.Value) // the parser has read it
	return value
}

// fallback is a flag's default. Durations stand in the source as 2*time.Minute, and words of a type as string(telemetry.All).
func fallback(files *token.FileSet, e ast.Expr) string {
	if text(e) != "" {
		return "`" + text(e) + "`"
	}
	var source bytes.Buffer
	if err := printer.Fprint(&source, files, e); err != nil {
		return ""
	}
	word := strings.TrimSuffix(strings.TrimPrefix(source.String(), "string(telemetry."), ")")
	word = strings.NewReplacer(" * ", "", "*", "", "time.Minute", "m", "time.Second", "s", `""`, "").Replace(word)
	if word == "" {
		return ""
	}
	return "`" + strings.ToLower(word) + "`"
}
