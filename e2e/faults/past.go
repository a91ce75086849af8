package faults

import (
	"context"
	"net/http"
	"slices"
	"sync"
)

// noInitialEvents is no fault that a plan can name.
const noInitialEvents Kind = "noInitialEvents"

// past is a view of the cluster as it was, by an apiserver that lags behind.
type past struct {
	version   string
	resources []string // none: all
	over      chan struct{}
}

// ShowPast has every list of these resources, or of all, that is asked for from now on be as it was at a resource
// version that is still in etcd, and every watch of them tell nothing, until now is called. Single objects, lists that
// take no older version, and writes are as of the present, as they are with an apiserver that lags behind. Each resource
// lags by itself.
func (p *Proxy) ShowPast(version string, resources ...string) (now func()) {
	shown := &past{version, resources, make(chan struct{})}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.past = shown
	return sync.OnceFunc(func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.past = nil
		close(shown.over)
	})
}

// shown is the past that is shown to a new request, or nil.
func (p *Proxy) shown(to Request) *past {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.past == nil || len(p.past.resources) > 0 && !slices.Contains(p.past.resources, to.Resource) {
		return nil
	}
	return p.past
}

// travel has a list be of the past. It says whether a watch has to be refused, as it would begin with the present.
func (t *past) travel(r *http.Request, is Request) (refuse bool) {
	if t == nil {
		return false
	}
	query := r.URL.Query()
	if is.Class == List && query.Has("resourceVersion") {
		query.Set("resourceVersion", t.version)
		query.Set("resourceVersionMatch", "Exact")
		r.URL.RawQuery = query.Encode()
	}
	return is.Class == Watch && query.Has("sendInitialEvents")
}

// await returns when the past is over, or the client has gone.
func (t *past) await(ctx context.Context) {
	if t == nil {
		return
	}
	select {
	case <-t.over:
	case <-ctx.Done():
	}
}
