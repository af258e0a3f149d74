// Command packaging makes the file tree from which `go get` takes the module, as a GOPROXY serves it:
//
//	packaging MODULE VERSION SOURCE LICENSE OUTPUT
//
// SOURCE is the module's folder; LICENSE is added to it. The tree is the same for the same source.
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: packaging MODULE VERSION SOURCE LICENSE OUTPUT")
		os.Exit(2)
	}
	if err := run(module.Version{Path: os.Args[1], Version: os.Args[2]}, os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run(what module.Version, source, license, output string) error {
	files, err := filesOf(source)
	if err != nil {
		return err
	}
	files = append(files, file{"LICENSE", license})
	path, err := module.EscapePath(what.Path)
	if err != nil {
		return err
	}
	folder := filepath.Join(output, path, "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"list":                 []byte(what.Version + "\n"),
		what.Version + ".info": fmt.Appendf(nil, "{\"Version\":%q}\n", what.Version),
		what.Version + ".mod":  mod,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	out, err := os.Create(filepath.Join(folder, what.Version+".zip"))
	if err != nil {
		return err
	}
	if err := zip.Create(out, what, files); err != nil {
		return err
	}
	return out.Close()
}

// filesOf are the files of the module: not those of modules inside it, and no hidden ones.
func filesOf(source string) (files []zip.File, err error) {
	err = filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == source {
			return err
		}
		if entry.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if err == nil || strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(source, path)
		if err == nil && !strings.HasPrefix(entry.Name(), ".") {
			files = append(files, file{filepath.ToSlash(name), path})
		}
		return err
	})
	return files, err
}

// file is a file of the module, and where it is.
type file struct{ name, path string }

func (f file) Path() string                 { return f.name }
func (f file) Lstat() (os.FileInfo, error)  { return os.Lstat(f.path) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(f.path) }
