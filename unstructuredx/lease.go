package unstructuredx

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

var leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

// leaseTimeout bounds each request: whoever renews a Lease in time must be able to try again.
const leaseTimeout = 5 * time.Second

// LeaseLock is the lock of k8s.io/client-go/tools/leaderelection, which has none for dynamic clients: whoever is named
// in a Lease holds it. It is used by one goroutine at a time.
type LeaseLock struct {
	Client    dynamic.Interface
	Namespace string
	Name      string
	// Holder names whoever holds the Lease by this lock, and nobody else ever.
	Holder string
	// Renewed, unless nil, is told when the holder has taken or renewed the Lease, by the time at which it began to ask for
	// that.
	Renewed func(at time.Time)

	lease *coordinationv1.Lease // as last seen: an update of any other version fails
}

var _ resourcelock.Interface = &LeaseLock{}

// Get reads who holds the Lease. The bytes differ if anything about that does.
func (l *LeaseLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	err := l.exchange(ctx, func(ctx context.Context, leases dynamic.ResourceInterface) (*unstructured.Unstructured,
		error) {
		return leases.Get(ctx, l.Name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("get Lease %s: %w", l.Describe(), err)
	}
	raw, err := json.Marshal(l.lease.Spec)
	if err != nil {
		return nil, nil, fmt.Errorf("encode Lease %s: %w", l.Describe(), err)
	}
	return resourcelock.LeaseSpecToLeaderElectionRecord(&l.lease.Spec), raw, nil
}

// Create makes the Lease.
func (l *LeaseLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	body, err := l.body(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name}},
		record)
	if err != nil {
		return err
	}
	err = l.exchange(ctx, func(ctx context.Context, leases dynamic.ResourceInterface) (*unstructured.Unstructured,
		error) {
		return leases.Create(ctx, body, metav1.CreateOptions{})
	})
	if err != nil {
		return fmt.Errorf("create Lease %s: %w", l.Describe(), err)
	}
	return nil
}

// Update changes the Lease, if nobody else has since it was last seen.
func (l *LeaseLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.lease == nil {
		return fmt.Errorf("update Lease %s: it has not been seen yet", l.Describe())
	}
	body, err := l.body(l.lease, record)
	if err != nil {
		return err
	}
	began := time.Now()
	err = l.exchange(ctx, func(ctx context.Context, leases dynamic.ResourceInterface) (*unstructured.Unstructured,
		error) {
		return leases.Update(ctx, body, metav1.UpdateOptions{})
	})
	if err != nil {
		return fmt.Errorf("update Lease %s: %w", l.Describe(), err)
	}
	if l.Renewed != nil && record.HolderIdentity == l.Holder {
		l.Renewed(began)
	}
	return nil
}

// Release gives the Lease up at once, so that nobody has to wait until it expires. What another holds is left alone.
func (l *LeaseLock) Release(ctx context.Context) error {
	record, _, err := l.Get(ctx)
	if err != nil || record.HolderIdentity != l.Holder {
		return err
	}
	now := metav1.Now()
	return l.Update(ctx, resourcelock.LeaderElectionRecord{
		LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now, LeaderTransitions: record.LeaderTransitions,
	})
}

// RecordEvent does nothing: who leads is in the Lease and in the log.
func (l *LeaseLock) RecordEvent(string) {}

// Identity is the holder's.
func (l *LeaseLock) Identity() string { return l.Holder }

// Describe is how the Lease is called in messages.
func (l *LeaseLock) Describe() string { return l.Namespace + "/" + l.Name }

// body is the Lease with another record in it.
func (l *LeaseLock) body(lease *coordinationv1.Lease,
	record resourcelock.LeaderElectionRecord) (*unstructured.Unstructured, error) {
	lease = lease.DeepCopy()
	lease.TypeMeta = metav1.TypeMeta{APIVersion: leases.GroupVersion().String(), Kind: "Lease"}
	lease.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&record)
	return Intent(lease)
}

// exchange makes one request and keeps the Lease that it answers with. Its errors are the apiserver's.
func (l *LeaseLock) exchange(ctx context.Context,
	do func(context.Context, dynamic.ResourceInterface) (*unstructured.Unstructured, error)) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	answer, err := do(ctx, l.Client.Resource(leases).Namespace(l.Namespace))
	if err != nil {
		return err
	}
	l.lease, err = Into[coordinationv1.Lease](answer)
	return err
}
