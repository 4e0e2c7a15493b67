package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tidings"
)

// stream is a server that answers so.
func stream(t testing.TB, answer func(w http.ResponseWriter, r *http.Request)) string {
	server := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAnEventSourceReadsMessagesAndReconnects(t *testing.T) {
	times := 0
	url := stream(t, func(w http.ResponseWriter, r *http.Request) {
		times++
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "retry: 1\nid: %d\nevent: tick\ndata: %s\n\n", times, r.Header.Get("Last-Event-ID"))
	})
	source, err := tidings.NewEventSource(url, tidings.SourceHeader("X-Test", "1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var last []string
	for event, err := range source.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Kind == tidings.SourceOpen && event.Status != 200 {
			t.Fatal(event)
		}
		if event.Kind == tidings.SourceMessage {
			if last = append(last, event.Name+event.ID+event.Data); len(last) == 2 {
				break
			}
		}
	}
	if last[0] != "tick1" || last[1] != "tick21" {
		t.Fatal(last)
	}
	// Leaving the loop has closed it.
	if event, err := source.Next(ctx); event != nil || err != nil {
		t.Fatal(event, err)
	}
	source.Close()
}

func TestAnEventSourceTakesOneAnswerToAPost(t *testing.T) {
	url := stream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s %s %s\n\n", r.Method, r.Header.Get("Authorization"), body)
	})
	source, err := tidings.NewEventSource(url, tidings.SourceBody([]byte(`{}`)), tidings.SourceToken("key"))
	if err != nil {
		t.Fatal(err)
	}
	var data string
	var last tidings.SourceKind
	for event, err := range source.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		data += event.Data
		last = event.Kind
	}
	if data != "POST Bearer key {}" || last != tidings.SourceClosed {
		t.Fatal(data, last)
	}
}

func TestAContextAndCloseEndWhoWaitsForAnEvent(t *testing.T) {
	url := stream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	source, err := tidings.NewEventSource(url)
	if err != nil {
		t.Fatal(err)
	}
	if event, err := source.Next(context.Background()); err != nil || event.Kind != tidings.SourceOpen {
		t.Fatal(event, err)
	}
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if event, err := source.Next(short); event != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(event, err)
	}
	// The next reader is not hurt by that.
	time.AfterFunc(20*time.Millisecond, source.Close)
	for event, err := range source.Events(context.Background()) {
		if err != nil || event.Kind != tidings.SourceClosed {
			t.Fatal(event, err)
		}
	}
	if _, err := tidings.NewEventSource("nonsense"); err == nil {
		t.Fatal("it is no URL")
	}
}
