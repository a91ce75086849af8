package unstructuredx

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// locks are those of two processes over the same Lease, which is yet to be made.
func locks() (mine, theirs *LeaseLock) {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	lock := func(holder string) *LeaseLock {
		return &LeaseLock{Client: client, Namespace: "system", Name: "lease", Holder: holder}
	}
	return lock("me"), lock("them")
}

func record(holder string, renewed time.Time) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{
		HolderIdentity: holder, LeaseDurationSeconds: 15, LeaderTransitions: 3,
		AcquireTime: metav1.NewTime(renewed), RenewTime: metav1.NewTime(renewed),
	}
}

func TestALeaseIsGivenUpByItsHolderOnly(t *testing.T) {
	for name, row := range map[string]struct{ holder, want string }{
		"mine":   {"me", ""},
		"theirs": {"them", "them"},
	} {
		t.Run(name, func(t *testing.T) {
			mine, _ := locks()
			if err := mine.Create(t.Context(), record(row.holder, time.Now())); err != nil {
				t.Fatal(err)
			}
			if err := mine.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, _, err := mine.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.HolderIdentity != row.want || got.LeaderTransitions != 3 {
				t.Errorf("the record is %+v, want it held by %q", got, row.want)
			}
		})
	}
}

func TestOneLockSeesWhatTheOtherWrites(t *testing.T) {
	mine, theirs := locks()
	_, _, err := theirs.Get(t.Context())
	if !apierrors.IsNotFound(err) {
		t.Errorf("there is no Lease yet: %v", err)
	}
	now := time.Now()
	if err := theirs.Update(t.Context(), record("them", now)); err == nil {
		t.Error("what was never seen was updated")
	}
	if err := mine.Create(t.Context(), record("me", now)); err != nil {
		t.Fatal(err)
	}
	before, first, err := theirs.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.HolderIdentity != "me" || before.LeaseDurationSeconds != 15 {
		t.Errorf("the record is %+v", before)
	}
	// A leader is alive as long as the bytes change, within the same second too.
	if err := mine.Update(t.Context(), record("me", now.Add(time.Millisecond))); err != nil {
		t.Fatal(err)
	}
	_, second, err := theirs.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if string(first) == string(second) {
		t.Errorf("renewed, and still %s", second)
	}
}
