// Receives EVENTS events of posts/* with one contender, reads the action and the record's id of each, and prints what that
// took, from the first to the last.
//
//	go run . CONTENDER URL EVENTS      CONTENDER: "tidings" or "net/http"
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tidings"
)

type meter struct {
	events, seen int
	began, ended time.Time
	cpu          [2]time.Duration
}

func processor() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// take counts an event, and says whether it was the last.
func (m *meter) take(action, id string) bool {
	if action == "" || id == "" {
		fmt.Fprintln(os.Stderr, "an event without action or id")
		os.Exit(1)
	}
	if m.seen == 0 {
		m.began, m.cpu[0] = time.Now(), processor()
	}
	m.seen++
	if m.seen == m.events {
		m.ended, m.cpu[1] = time.Now(), processor()
	}
	return m.seen == m.events
}

func withTidings(url string, m *meter) error {
	client, err := tidings.New(url)
	if err != nil {
		return err
	}
	defer client.Close()
	posts, err := client.Collection("posts").Subscribe(context.Background(), "*", tidings.Queue(m.events))
	if err != nil {
		return err
	}
	for event, err := range posts.Events(context.Background()) {
		if err != nil {
			return err
		}
		if m.take(event.Action.String(), event.ID) {
			break
		}
	}
	return nil
}

// What a program would write by hand: no reconnect, no limits.
func withNetHTTP(url string, m *meter) error {
	response, err := http.Get(url + "/api/realtime")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	var name, data string
	for lines.Scan() {
		field, text, _ := strings.Cut(lines.Text(), ":")
		text = strings.TrimPrefix(text, " ")
		switch field {
		case "event":
			name = text
		case "data":
			data = text
		case "":
			var payload struct {
				ClientID string `json:"clientId"`
				Action   string
				Record   struct{ ID string }
			}
			if err := json.Unmarshal([]byte(data), &payload); err != nil {
				return err
			}
			if name == "PB_CONNECT" {
				body := fmt.Sprintf(`{"clientId":%q,"subscriptions":["posts/*"]}`, payload.ClientID)
				answer, err := http.Post(url+"/api/realtime", "application/json", strings.NewReader(body))
				if err != nil {
					return err
				}
				answer.Body.Close()
			} else if m.take(payload.Action, payload.Record.ID) {
				return nil
			}
		}
	}
	return lines.Err()
}

func main() {
	contenders := map[string]func(string, *meter) error{"tidings": withTidings, "net/http": withNetHTTP}
	events, _ := strconv.Atoi(os.Args[3])
	m := &meter{events: events}
	if err := contenders[os.Args[1]](os.Args[2], m); err != nil || m.seen < events {
		fmt.Fprintln(os.Stderr, os.Args[1], m.seen, "events:", err)
		os.Exit(1)
	}
	gaps := float64(events - 1)
	_ = json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"events_per_s":     gaps / m.ended.Sub(m.began).Seconds(),
		"cpu_us_per_event": float64((m.cpu[1] - m.cpu[0]).Microseconds()) / gaps,
	})
}
