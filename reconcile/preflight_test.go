package reconcile

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// On a machine that starts, the first connection to the apiserver may hang for ever.
func TestAFirstRequestThatGetsNoAnswerIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Controller{log: zap.NewNop()}
		began, requests := time.Now(), 0
		err := c.waitForAPIServer(t.Context(), func(ctx context.Context) error {
			if requests++; requests > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if took := time.Since(began); err != nil || requests != 2 || took > 2*time.Second {
			t.Errorf("%d requests, %s, %v", requests, took, err)
		}
	})
}
