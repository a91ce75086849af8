package reconcile

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// lead does work while this process is the leader, and returns once work has. The end of ctx is a clean end: the Lease
// is given up after the work has stopped, so that whoever stands by goes on at once. Leadership that is lost is an
// error.
func (c *Controller) lead(ctx context.Context, work func(context.Context)) error {
	if c.options.Lease == 0 {
		work(ctx)
		return nil
	}
	lock := &unstructuredx.LeaseLock{Client: c.client, Namespace: c.options.SystemNamespace, Name: leaseName(c.selector),
		Holder: c.options.identity(), Renewed: func(at time.Time) { c.renewed.Store(&at) }}
	if err := c.makeLease(ctx, lock); err != nil {
		return err
	}
	terms := make(chan context.Context, 1)
	elector, err := c.elector(lock, terms)
	if err != nil {
		return fmt.Errorf("elect a leader by Lease %s: %w", lock.Describe(), err)
	}
	// The election goes on until the work has stopped. What client-go says about it is for debugging, but for errors.
	outlasting := context.WithoutCancel(ctx)
	electing, stop := context.WithCancel(klog.NewContext(outlasting, klog.Background().V(1)))
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	select {
	case <-ctx.Done():
	case term := <-terms:
		working, stopWorking := context.WithCancel(ctx)
		defer stopWorking()
		defer context.AfterFunc(term, stopWorking)()
		work(working)
	}
	lost := ctx.Err() == nil // for nothing but that and the end of the term stops the work
	stop()
	<-ended
	if lost {
		return fmt.Errorf("lost the Lease %s: it was not renewed for %s, so another controller may be at work",
			lock.Describe(), c.renewDeadline())
	}
	if err := lock.Release(outlasting); err != nil {
		c.log.Warn("another controller has to wait until the Lease expires", zap.String("lease", lock.Describe()),
			zap.Error(err))
	}
	return nil
}

// elector sends to terms when this process becomes the leader: a context that ends when it is no longer.
func (c *Controller) elector(lock *unstructuredx.LeaseLock,
	terms chan<- context.Context) (*leaderelection.LeaderElector, error) {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          lock,
		Name:          lock.Name, // in the metrics
		LeaseDuration: c.options.Lease,
		RenewDeadline: c.renewDeadline(),
		RetryPeriod:   c.options.Lease * 2 / 15,
		// Not ReleaseOnCancel, which would release before the work has stopped: see lead.
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(term context.Context) { terms <- term },
			OnStoppedLeading: func() {},
			OnNewLeader: func(leader string) {
				if leader != "" && leader != lock.Holder {
					c.log.Info("standing by: another controller is at work, this one takes over when that one stops",
						zap.String("lease", lock.Describe()), zap.String("leader", leader))
				}
			},
		},
	})
	if err != nil {
		return nil, err
	}
	// What client-go calls WatchDog is only heard of by its RunOrDie.
	c.health.election.SetLeaderElection(elector)
	return elector, nil
}

// mayMine says whether no other controller can have taken over: this one has renewed its Lease lately. A process that was
// halted goes on with what it was about to do before it notices that its term has ended; a block can't be taken back.
func (c *Controller) mayMine() bool {
	if c.options.Lease == 0 {
		return true
	}
	renewed := c.renewed.Load()
	return renewed != nil && time.Since(*renewed) < c.renewDeadline()
}

// renewDeadline is when a leader stops that can't renew its Lease: well before others may take it.
func (c *Controller) renewDeadline() time.Duration { return c.options.Lease * 2 / 3 }

// makeLease makes a Lease that nobody holds, unless there is one. The elector would do so itself, but log for ever that
// it can't.
func (c *Controller) makeLease(ctx context.Context, lock *unstructuredx.LeaseLock) error {
	return c.waitForAPIServer(ctx, func(ctx context.Context) error {
		_, _, err := lock.Get(ctx)
		if apierrors.IsNotFound(err) {
			now := metav1.Now()
			err = lock.Create(ctx, resourcelock.LeaderElectionRecord{LeaseDurationSeconds: 1, AcquireTime: now,
				RenewTime: now})
		}
		const instead = "or, if this is the only controller, run it with --leader-elect=false"
		switch {
		case apierrors.IsAlreadyExists(err): // another controller was faster
			return nil
		case apierrors.IsNotFound(err):
			return permanentError{fmt.Errorf("no place for the Lease by which controllers agree on who works: "+
				"create the namespace %s, name another one by --system-namespace, "+
				"%s: %w", lock.Namespace, instead, err)}
		case apierrors.IsForbidden(err):
			return permanentError{fmt.Errorf("not allowed the Lease %s by which controllers agree on who works: "+
				"install the RBAC rules of manifests/, with --selector those for the Lease of that name, too; name the "+
				"namespace where they are by --system-namespace, %s: %w", lock.Describe(), instead, err)}
		}
		return err
	})
}

// identity tells this process from all others that may live, and people where to look for it. A container that was
// killed gives no Lease up. The next one in the same pod knows that it is dead, and need not wait until the Lease
// expires: it has the same identity.
func (o Options) identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "_" + cmp.Or(o.PodUID, rand.Text())
}
