// Package subprocess is what tests need that start programs on this machine.
package subprocess

import (
	"fmt"
	"net"
	"strconv"
)

// FreePorts returns ports of 127.0.0.1 that were free a moment ago.
func FreePorts(count int) ([]string, error) {
	ports := make([]string, count)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() // at the end, so that all are different
		ports[i] = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
