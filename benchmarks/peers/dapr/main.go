// Package main is daprd as its own repository starts it: `go install` of that repository is refused, since its go.mod
// replaces modules. So ours does, with the same replacements.
package main

import "github.com/dapr/dapr/cmd/daprd/app"

func main() {
	app.Run()
}
