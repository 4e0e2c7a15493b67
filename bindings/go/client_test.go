package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/tidingstest"
)

const posts = "/api/collections/posts/records"

func open(t testing.TB) (*tidings.Client, context.Context) {
	t.Helper()
	client, err := tidings.New(tidingstest.Hub(t, "--user", "ada@example.com", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return client, ctx
}

func post(t testing.TB, ctx context.Context, client *tidings.Client, title string) {
	t.Helper()
	if _, err := client.Send(ctx, "POST", posts, []byte(fmt.Sprintf(`{"title": %q}`, title))); err != nil {
		t.Fatal(err)
	}
}

func subscribe(t testing.TB, ctx context.Context, client *tidings.Client, options ...tidings.SubscribeOption) *tidings.Subscription {
	t.Helper()
	s, err := client.Collection("posts").Subscribe(ctx, "*", options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEventsComeInOrderWithTheirRecords(t *testing.T) {
	client, ctx := open(t)
	s := subscribe(t, ctx, client)
	for n := 0; n < 3; n++ {
		post(t, ctx, client, fmt.Sprint(n))
	}
	n := 0
	for event, err := range s.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		record, err := tidings.Record[struct{ ID, Title string }](event)
		if err != nil || event.Action != tidings.Create || record.Title != fmt.Sprint(n) || record.ID != event.ID {
			t.Fatalf("%v %+v %v", event, record, err)
		}
		if n++; n == 3 {
			break
		}
	}
	// Leaving the loop has unsubscribed.
	if event, err := s.Next(ctx); event != nil || err != nil {
		t.Fatal(event, err)
	}
}

func TestRefusalsHaveAStatus(t *testing.T) {
	client, ctx := open(t)
	_, err := client.Collection("users").AuthWithPassword(ctx, "ada@example.com", "wrong")
	var refused *tidings.Error
	if !errors.Is(err, tidings.ErrRefused) || !errors.As(err, &refused) || refused.Status != 400 {
		t.Fatal(err)
	}
	if len(refused.Body) == 0 {
		t.Fatal("no body")
	}
	if _, err = client.Realtime().Subscribe(ctx, ""); !errors.Is(err, &tidings.Error{Code: tidings.InvalidTopic}) {
		t.Fatal(err)
	}
}

func TestALoginActsAsTheUser(t *testing.T) {
	client, ctx := open(t)
	record, err := client.Collection("users").AuthWithPassword(ctx, "ada@example.com", "secret")
	if err != nil || !strings.Contains(string(record), "ada@example.com") || client.Auth().Token() == "" {
		t.Fatal(string(record), err)
	}
	// What a subscription missed while the client became somebody else.
	s := subscribe(t, ctx, client)
	if err = client.Auth().Clear(); err != nil {
		t.Fatal(err)
	}
	event, err := s.Next(ctx)
	if err != nil || event.Action != tidings.Gap || event.Missed == nil || event.Missed.Reason != "identity_changed" ||
		event.Missed.Until.Before(event.Missed.Since) || event.Missed.For < 0 {
		t.Fatal(event, err)
	}
	s.Unsubscribe()
	if _, err = client.Collection("users").AuthWithPassword(ctx, "ada@example.com", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err = client.Collection("users").AuthRefresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err = client.Auth().Clear(); err != nil || client.Auth().Token() != "" || client.Auth().Record() != nil {
		t.Fatal(err)
	}
}

func TestACancelledContextComesBackAndLeavesNothing(t *testing.T) {
	client, ctx := open(t)
	cancelled, cancel := context.WithCancelCause(ctx)
	why := errors.New("enough")
	s := subscribe(t, ctx, client)
	ended := make(chan error)
	go func() {
		for _, err := range s.Events(cancelled) {
			ended <- err
		}
	}()
	cancel(why)
	if err := <-ended; err != why {
		t.Fatal(err)
	}
	if _, err := client.Send(cancelled, "GET", "/api/health", nil); err != why {
		t.Fatal(err)
	}
	if _, err := client.Collection("posts").Subscribe(cancelled, "*"); err != why {
		t.Fatal(err)
	}
	// Nobody answers at this address; the context alone ends the calls.
	deaf, err := tidings.New("http://" + silent(t))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for _, call := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := deaf.Send(ctx, "GET", "/", nil); return err },
		func(ctx context.Context) error { _, err := deaf.Realtime().Subscribe(ctx, "a"); return err },
	} {
		ctx, cancel := context.WithCancel(ctx)
		answered := make(chan error)
		go func() { answered <- call(ctx) }()
		cancel()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestASlowConsumerIsToldWhatWasDropped(t *testing.T) {
	client, ctx := open(t)
	s := subscribe(t, ctx, client, tidings.Queue(10))
	other := subscribe(t, ctx, client)
	const sent = 400
	for n := 0; n < sent; n++ {
		post(t, ctx, client, fmt.Sprint(n))
		if event, err := other.Next(ctx); err != nil || event.Action != tidings.Create {
			t.Fatal(event, err)
		}
	}
	var seen, lost uint64
	for seen+lost < sent {
		event, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if event.Action == tidings.Lagged {
			lost += event.Lost
		} else {
			seen++
		}
	}
	// What Go holds and what the library holds is all that can be seen.
	if lost == 0 || seen > 256+64+10 {
		t.Fatal(seen, lost)
	}
}

// Each event goes to one of them, and none sleeps while there is one.
func TestManyMayReadOneSubscription(t *testing.T) {
	client, ctx := open(t)
	s := subscribe(t, ctx, client)
	const readers = 4
	var all sync.WaitGroup
	all.Add(readers)
	var group sync.WaitGroup
	for range readers {
		group.Add(1)
		go func() {
			defer group.Done()
			if event, err := s.Next(ctx); event == nil || err != nil {
				t.Error(event, err)
			}
			// Until the others have one too.
			all.Done()
			all.Wait()
			if event, err := s.Next(ctx); event != nil || err != nil {
				t.Error(event, err)
			}
		}()
	}
	for n := range readers {
		post(t, ctx, client, fmt.Sprint(n))
	}
	all.Wait()
	s.Unsubscribe()
	group.Wait()
}

func TestHandlersAndStates(t *testing.T) {
	client, ctx := open(t)
	states := client.States(ctx)
	came := make(chan *tidings.Event)
	if err := client.Collection("posts").On(ctx, "*", func(e *tidings.Event) { came <- e }); err != nil {
		t.Fatal(err)
	}
	post(t, ctx, client, "a")
	if e := <-came; e.Action != tidings.Create || e.Topic != "posts/*" {
		t.Fatal(e)
	}
	for state := range states {
		if state.Name == "live" {
			break
		}
	}
}

func TestClosingEndsWhatWaits(t *testing.T) {
	client, ctx := open(t)
	s := subscribe(t, ctx, client)
	ended := make(chan error)
	go func() {
		_, err := s.Next(ctx)
		ended <- err
	}()
	client.Close()
	client.Close()
	if err := <-ended; !errors.Is(err, tidings.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := client.Send(ctx, "GET", "/", nil); !errors.Is(err, tidings.ErrClosed) {
		t.Fatal(err)
	}
}

func TestOpeningAndClosingLeavesNothing(t *testing.T) {
	url := tidingstest.Hub(t)
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	var goroutines, descriptors int
	for n := 0; n < 200; n++ {
		client, err := tidings.New(url)
		if err != nil {
			t.Fatal(err)
		}
		subscribe(t, ctx, client)
		client.Close()
		if n == 20 {
			goroutines, descriptors = runtime.NumGoroutine(), files(t)
		}
	}
	for tidings.Threads() > 0 {
		runtime.Gosched()
	}
	if g, d := runtime.NumGoroutine(), files(t); g > goroutines || d > descriptors {
		t.Fatalf("goroutines %d → %d, descriptors %d → %d", goroutines, g, descriptors, d)
	}
}

func files(t *testing.T) int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(open)
}

// A panic in a handler is the program's own, with its own stack.
func TestAThousandClientsHaveOneThreadEach(t *testing.T) {
	const clients = 1000
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(tasks)
	}
	// Each of them may have few descriptors.
	hubs := []string{tidingstest.Hub(t), tidingstest.Hub(t), tidingstest.Hub(t)}
	before := threads()
	all := make([]*tidings.Client, clients)
	for n := range all {
		client, err := tidings.New(hubs[n%len(hubs)])
		if err != nil {
			t.Fatal(err)
		}
		all[n] = client
	}
	var group sync.WaitGroup
	for _, client := range all {
		group.Add(1)
		go func() {
			defer group.Done()
			if _, err := client.Collection("posts").Subscribe(context.Background(), "*"); err != nil {
				t.Error(err)
			}
		}()
	}
	group.Wait()
	// Go starts some when calls into C take long.
	if now := threads(); now > before+clients+20 {
		t.Fatalf("%d threads, %d before", now, before)
	}
	for _, client := range all {
		group.Add(1)
		go func() {
			defer group.Done()
			client.Close()
		}()
	}
	group.Wait()
}

func TestAPanicInAHandlerIsTheProgramsOwn(t *testing.T) {
	if os.Getenv("TIDINGS_PANIC") != "" {
		client, ctx := open(t)
		if err := client.Collection("posts").On(ctx, "*", func(*tidings.Event) { panic("of the host") }); err != nil {
			t.Fatal(err)
		}
		post(t, ctx, client, "a")
		<-ctx.Done()
		return
	}
	program := exec.Command(os.Args[0], "-test.run=^TestAPanicInAHandlerIsTheProgramsOwn$")
	program.Env = append(os.Environ(), "TIDINGS_PANIC=1")
	out, err := program.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: of the host") || !strings.Contains(string(out), "client_test.go") {
		t.Fatalf("%v\n%s", err, out)
	}
}
