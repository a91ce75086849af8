package reconcile

import (
	"errors"
	"testing"

	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/tools/cache"
)

func TestWhatLastsIsToldOnce(t *testing.T) {
	one, other := cache.ObjectName{Namespace: "default", Name: "one"}, cache.ObjectName{Namespace: "default",
		Name: "other"}
	lost, refused := errors.New("the key is lost"), errors.New("the quota is used up")
	for name, row := range map[string]struct {
		before func(*warnings)
		want   zapcore.Level
	}{
		"the first failure":      {func(*warnings) {}, zapcore.WarnLevel},
		"the same failure again": {func(c *warnings) { c.level(one, lost) }, zapcore.DebugLevel},
		"after another failure": {func(c *warnings) { c.level(one, lost); c.level(one, refused) },
			zapcore.WarnLevel},
		"after a pass that did not fail": {func(c *warnings) { c.level(one, lost); c.forget(one) },
			zapcore.WarnLevel},
		"the same failure of another": {func(c *warnings) { c.level(other, lost) }, zapcore.WarnLevel},
		"again, when another did not fail": {func(c *warnings) { c.level(one, lost); c.forget(other) },
			zapcore.DebugLevel},
		"the same failure for a third time": {func(c *warnings) { c.level(one, lost); c.level(one, lost) },
			zapcore.DebugLevel},
	} {
		t.Run(name, func(t *testing.T) {
			c := warnings{last: map[cache.ObjectName]string{}}
			row.before(&c)
			if got := c.level(one, lost); got != row.want {
				t.Errorf("it is told at level %s, want %s", got, row.want)
			}
		})
	}
}
