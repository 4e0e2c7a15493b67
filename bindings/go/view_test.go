package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"tidings"
)

func watch(t testing.TB, ctx context.Context, client *tidings.Client, options ...tidings.WatchOption) *tidings.View {
	t.Helper()
	v, err := client.Collection("posts").Watch(ctx, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// deltas is the next batch with something in it.
func deltas(t testing.TB, ctx context.Context, v *tidings.View) ([]tidings.Delta, *tidings.Changes) {
	t.Helper()
	for {
		changes, err := v.Next(ctx)
		if err != nil || changes == nil {
			t.Fatal(changes, err)
		}
		var all []tidings.Delta
		for delta := range changes.Deltas() {
			all = append(all, delta)
		}
		if len(all) > 0 {
			return all, changes
		}
	}
}

func TestAViewTellsWhatHasHappenedToItsRows(t *testing.T) {
	client, ctx := open(t)
	post(t, ctx, client, "b")
	v := watch(t, ctx, client, tidings.WatchFilter("title != 'x'"), tidings.WatchSort("title"), tidings.WatchLimit(10))
	if freshness, since, err := v.Status(); freshness != tidings.Proven || since.IsZero() || err != nil {
		t.Fatal(freshness, since, err)
	}
	all, changes := deltas(t, ctx, v)
	if len(all) != 1 || all[0].Kind != tidings.ResetList || all[0].From != -1 || changes.Rows().Len() != 1 {
		t.Fatal(all)
	}
	post(t, ctx, client, "a")
	all, changes = deltas(t, ctx, v)
	row, err := tidings.Row[struct{ ID, Title string }](changes.Rows(), 0)
	if all[0].Kind != tidings.Inserted || all[0].To != 0 || err != nil || row.Title != "a" || row.ID != all[0].ID {
		t.Fatal(all, row, err)
	}
	id := changes.Rows().ID(1)
	if _, err := client.Send(ctx, "PATCH", posts+"/"+id, []byte(`{"title": "0"}`)); err != nil {
		t.Fatal(err)
	}
	all, _ = deltas(t, ctx, v)
	if all[0].Kind != tidings.Updated || all[0].From != 1 || all[0].To != 0 || len(all[0].Old) == 0 {
		t.Fatal(all)
	}
	if _, err := client.Send(ctx, "PATCH", posts+"/"+id, []byte(`{"title": "x"}`)); err != nil {
		t.Fatal(err)
	}
	all, changes = deltas(t, ctx, v)
	if all[0].Kind != tidings.Removed || all[0].Why != tidings.LeftFilter || all[0].ID != id {
		t.Fatal(all)
	}
	if _, err := tidings.Row[struct{}](changes.Rows(), 1); err == nil || changes.Rows().ID(-1) != "" {
		t.Fatal("there is no such row")
	}
	// They outlive the view.
	v.Close()
	runtime.GC()
	if changes.Rows().Len() != 1 || changes.Freshness() != tidings.Proven || changes.Err() != nil {
		t.Fatal(changes.Freshness())
	}
	if changes, err := v.Next(ctx); changes != nil || err != nil {
		t.Fatal(changes, err)
	}
	if freshness, _, err := v.Status(); freshness != tidings.Ended || !errors.Is(err, tidings.ErrClosed) {
		t.Fatal(freshness, err)
	}
}

func TestAProofShowsWhatWasWrittenBeforeIt(t *testing.T) {
	client, ctx := open(t)
	v := watch(t, ctx, client)
	for n := range 20 {
		post(t, ctx, client, fmt.Sprint(n))
	}
	if err := v.Prove(ctx); err != nil || v.Rows().Len() != 20 {
		t.Fatal(err, v.Rows().Len())
	}
	// Who has read nothing gets the list.
	all, changes := deltas(t, ctx, v)
	if len(all) == 0 || changes.Rows().Len() > 20 {
		t.Fatal(all)
	}
}

func TestAViewIsRefusedWithAStatusAndEndsWithItsContext(t *testing.T) {
	client, ctx := open(t)
	_, err := client.Collection("posts").Watch(ctx, tidings.WatchFilter("title ="))
	var refused *tidings.Error
	if !errors.As(err, &refused) || refused.Code != tidings.InvalidArgument {
		t.Fatal(err)
	}
	if _, err := client.Collection("posts").Watch(ctx, tidings.WatchLimit(0)); err == nil {
		t.Fatal("a limit of 0")
	}
	nowhere, err := tidings.New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := nowhere.Collection("posts").Watch(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	v := watch(t, ctx, client)
	until, stop := context.WithCancel(ctx)
	defer stop()
	var last error
	for _, err := range v.Changes(until) {
		last = err
		stop()
	}
	if !errors.Is(last, context.Canceled) {
		t.Fatal(last)
	}
}

func TestAClosedClientEndsItsViews(t *testing.T) {
	client, ctx := open(t)
	v := watch(t, ctx, client)
	go client.Close()
	var last error
	for _, err := range v.Changes(ctx) {
		last = err
	}
	if !errors.Is(last, tidings.ErrClosed) {
		t.Fatal(last)
	}
	if err := v.Prove(ctx); err == nil {
		t.Fatal("it is closed")
	}
}
