// A program of the common gateway interface: it answers with what it was told and what it was sent.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	fmt.Print("Content-Type: text/plain\nX-Language: go\n\n")
	fmt.Printf("%s %s?%s\n", os.Getenv("REQUEST_METHOD"), os.Getenv("PATH_INFO"), os.Getenv("QUERY_STRING"))
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
