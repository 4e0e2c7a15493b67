package bosbase_test

// The code blocks of the BosBase Go SDK's realtime page, against the real PocketBase. Changed are the import, the URL and
// names of data; what a block calls and the page does not define is defined here.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bosbase "tidings/bosbase"
)

const patience = 30 * time.Second

type server struct {
	t     *testing.T
	url   string
	token string
}

// start starts a PocketBase with the page's collections.
func start(t *testing.T) *server {
	t.Helper()
	binary := os.Getenv("TIDINGS_POCKETBASE")
	if binary == "" {
		t.Fatal("TIDINGS_POCKETBASE does not name a PocketBase binary: run `make test-go`, which fetches one and sets this")
	}
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command(binary, "superuser", "upsert", "root@example.com", "correct-horse-1", "--dir", data).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	// The shell reads a pipe that we hold, and takes the server with it.
	const script = `"$0" serve --http "$1" --dir "$2" & server=$!; read -r _; kill -9 "$server"`
	process := exec.Command("sh", "-c", script, binary, address, data)
	in, err := process.StdinPipe()
	if err == nil {
		err = process.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = process.Wait()
	})
	s := &server{t: t, url: "http://" + address}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if response, err := http.Get(s.url + "/api/health"); err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("PocketBase does not answer")
		}
	}
	s.token = s.ask("POST", "/api/collections/_superusers/auth-with-password", map[string]any{"identity": "root@example.com", "password": "correct-horse-1"})["token"].(string)
	for name, fields := range map[string][]string{"posts": {"title", "status", "author"}, "messages": {"roomId", "text"}, "comments": {"postId"}} {
		s.collection(name, fields)
	}
	s.ask("POST", "/api/collections/users/records", map[string]any{"email": "user@example.com", "password": "password123", "passwordConfirm": "password123"})
	return s
}

func (s *server) collection(name string, texts []string) {
	var fields []map[string]any
	for _, field := range texts {
		fields = append(fields, map[string]any{"name": field, "type": "text"})
	}
	body := map[string]any{"name": name, "type": "base", "fields": fields}
	for _, rule := range []string{"list", "view", "create", "update", "delete"} {
		body[rule+"Rule"] = ""
	}
	s.ask("POST", "/api/collections", body)
}

func (s *server) ask(method, path string, body any) map[string]any {
	s.t.Helper()
	text, _ := json.Marshal(body)
	request, _ := http.NewRequest(method, s.url+path, bytes.NewReader(text))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", s.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var found map[string]any
	_ = json.NewDecoder(response.Body).Decode(&found)
	if response.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %v", method, path, response.StatusCode, found)
	}
	return found
}

func (s *server) create(collection string, record map[string]any) string {
	s.t.Helper()
	return s.ask("POST", "/api/collections/"+collection+"/records", record)["id"].(string)
}

func (s *server) update(collection, id string, record map[string]any) {
	s.t.Helper()
	s.ask("PATCH", "/api/collections/"+collection+"/records/"+id, record)
}

func open(t *testing.T) (*server, *bosbase.BosBase) {
	s := start(t)
	client := bosbase.New(s.url)
	t.Cleanup(client.Close)
	return s, client
}

// said is what the blocks' functions were called with.
var said = make(chan string, 100)

func expect(t *testing.T, wanted string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case text := <-said:
			if strings.Contains(text, wanted) {
				return
			}
		case <-late:
			t.Fatalf("%q was not said", wanted)
		}
	}
}

func handler(e map[string]interface{})               { say("handler", e) }
func handleChange(e map[string]interface{})          { say("Change event:", e) }
func handleAllChanges(e map[string]interface{})      { say("Collection-wide change:", e) }
func displayMessage(record map[string]interface{})   { say("display", record["text"]) }
func removeMessage(id string)                        { say("remove", id) }
func addPostToFeed(record map[string]interface{})    { say("add", record["title"]) }
func updatePostInFeed(record map[string]interface{}) { say("updated", record["title"]) }
func updateCommentsCount(postID string)              { say("count", postID) }
func showNotification(text string)                   { say("notification", text) }
func showConnectionStatus(text string)               { say("status", text) }
func say(parts ...any)                               { said <- fmt.Sprintln(parts...) }

func TestSubscribeToCollectionChanges(t *testing.T) {
	s := start(t)
	client := bosbase.New(s.url)
	defer client.Close()
	// Subscribe to all changes in the 'posts' collection
	unsubscribe, err := client.Collection("posts").Subscribe("*", func(e map[string]interface{}) {
		action, _ := e["action"].(string)
		record, _ := e["record"].(map[string]interface{})
		say("Action:", action)
		say("Record:", record)
	}, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	// Later, unsubscribe
	defer unsubscribe()
	s.create("posts", map[string]any{"title": "Hello"})
	expect(t, "Action: create")
	expect(t, "title:Hello")
}

func TestMultipleSubscriptionsAndRecords(t *testing.T) {
	s, client := open(t)
	first := s.create("posts", map[string]any{"title": "1"})
	second := s.create("posts", map[string]any{"title": "2"})
	unsubscribe1, _ := client.Collection("posts").Subscribe(first, handleChange, nil, nil)
	unsubscribe2, _ := client.Collection("posts").Subscribe(second, handleChange, nil, nil)
	unsubscribe3, _ := client.Collection("posts").Subscribe("*", handleAllChanges, nil, nil)
	s.update("posts", first, map[string]any{"title": "one"})
	expect(t, "title:one")
	s.update("posts", second, map[string]any{"title": "two"})
	expect(t, "Change event:")
	// Unsubscribe individually
	defer unsubscribe1()
	defer unsubscribe2()
	defer unsubscribe3()
}

func TestPBConnectEvent(t *testing.T) {
	_, client := open(t)
	unsubscribe, err := client.Realtime.Subscribe("PB_CONNECT", func(e map[string]interface{}) {
		clientID, _ := e["clientId"].(string)
		say(fmt.Sprintf("Connected! Client ID has %d characters", len(clientID)))
	}, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer unsubscribe()
	expect(t, "Connected! Client ID has 40 characters")
}

func TestSubscriptionOptionsAndUnsubscribing(t *testing.T) {
	s, client := open(t)
	query := map[string]interface{}{
		"filter": "status = \"published\"",
		"expand": "author",
	}
	headers := map[string]string{
		"X-Custom-Header": "value",
	}
	unsubscribe, err := client.Collection("posts").Subscribe("*", handler, query, headers)
	if err != nil {
		t.Fatal(err)
	}
	s.create("posts", map[string]any{"title": "hidden", "status": "draft"})
	s.create("posts", map[string]any{"title": "seen", "status": "published"})
	if text := <-said; !strings.Contains(text, "title:seen") {
		t.Fatal(text)
	}
	unsubscribe() // Removes this specific subscription

	unsubscribe, err = client.Collection("posts").Subscribe("RECORD_ID", handler, map[string]interface{}{"expand": "author,categories"}, nil)
	if err == nil {
		unsubscribe()
	}
	// Remove all subscriptions for a specific record
	client.Collection("posts").Unsubscribe("RECORD_ID")
	// Remove all wildcard subscriptions for the collection
	client.Collection("posts").Unsubscribe("*")
	// Unsubscribe from all subscriptions in the collection
	client.Collection("posts").Unsubscribe("")
	// Or unsubscribe from everything
	client.Realtime.Unsubscribe("")
}

func TestALogInWithEachOfItsArguments(t *testing.T) {
	_, client := open(t)
	users := client.Collection("users")
	answer, err := users.AuthWithPassword("user@example.com", "password123", "", "token,record.id",
		map[string]interface{}{"identityField": "email"}, map[string]interface{}{"x": 1}, map[string]string{"X-Test": "1"})
	if err != nil {
		t.Fatal(err)
	}
	record := client.AuthStore.Record()
	if len(record) != 1 || record["id"] == "" || answer["token"] == "" {
		t.Fatal(answer, record)
	}
	if _, err := users.AuthWithPassword("user@example.com", "password123", "", "record", nil, nil, nil); err == nil {
		t.Fatal("there is no token in that")
	}
	var refused *bosbase.ClientResponseError
	_, err = users.AuthWithPassword("user@example.com", "wrong", "", "token", nil, nil, nil)
	if !errors.As(err, &refused) || refused.Status != 400 {
		t.Fatal(err)
	}
}

func TestAuthenticatedSubscriptions(t *testing.T) {
	s, client := open(t)
	// Authenticate first
	_, err := client.Collection("users").AuthWithPassword(
		"user@example.com", "password123", "", "", nil, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	// Now subscribe - events will respect your permissions
	unsubscribe, err := client.Collection("posts").Subscribe("*", handler, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unsubscribe()

	authRecord := client.AuthStore.Record()
	userID, _ := authRecord["id"].(string)
	trackUserActivity(client, userID)
	id := s.create("posts", map[string]any{"title": "mine", "author": userID})
	expect(t, "Your post create: mine")
	s.update("posts", id, map[string]any{"title": "changed"})
	expect(t, "notification Post updated")
}

// Track changes to a user's own records
func trackUserActivity(client *bosbase.BosBase, userID string) error {
	query := map[string]interface{}{
		"filter": fmt.Sprintf(`author = "%s"`, userID),
	}
	_, err := client.Collection("posts").Subscribe("*", func(e map[string]interface{}) {
		action, _ := e["action"].(string)
		record, _ := e["record"].(map[string]interface{})
		title, _ := record["title"].(string)
		say(fmt.Sprintf("Your post %s: %s", action, title))
		if action == "update" {
			showNotification("Post updated")
		}
	}, query, nil)
	return err
}

// Subscribe to messages in a chat room
func setupChatRoom(client *bosbase.BosBase, roomID string) (func(), error) {
	query := map[string]interface{}{
		"filter": fmt.Sprintf(`roomId = "%s"`, roomID),
	}
	unsubscribe, err := client.Collection("messages").Subscribe("*", func(e map[string]interface{}) {
		action, _ := e["action"].(string)
		record, _ := e["record"].(map[string]interface{})
		// Filter for this room only
		recordRoomID, _ := record["roomId"].(string)
		if recordRoomID == roomID {
			if action == "create" {
				displayMessage(record)
			} else if action == "delete" {
				removeMessage(record["id"].(string))
			}
		}
	}, query, nil)
	return unsubscribe, err
}

func TestExample1Chat(t *testing.T) {
	s, client := open(t)
	unsubscribeChat, err := setupChatRoom(client, "ROOM_ID")
	if err != nil {
		log.Fatal(err)
	}
	defer unsubscribeChat()
	id := s.create("messages", map[string]any{"roomId": "ROOM_ID", "text": "hi"})
	expect(t, "display hi")
	s.ask("DELETE", "/api/collections/messages/records/"+id, nil)
	expect(t, "remove "+id)
}

// Subscribe to multiple collections
func setupDashboard(client *bosbase.BosBase) error {
	// Posts updates
	query1 := map[string]interface{}{
		"filter": "status = \"published\"",
		"expand": "author",
	}
	_, err := client.Collection("posts").Subscribe("*", func(e map[string]interface{}) {
		action, _ := e["action"].(string)
		record, _ := e["record"].(map[string]interface{})
		if action == "create" {
			addPostToFeed(record)
		} else if action == "update" {
			updatePostInFeed(record)
		}
	}, query1, nil)
	if err != nil {
		return err
	}
	// Comments updates
	query2 := map[string]interface{}{
		"expand": "user",
	}
	_, err = client.Collection("comments").Subscribe("*", func(e map[string]interface{}) {
		record, _ := e["record"].(map[string]interface{})
		postID, _ := record["postId"].(string)
		updateCommentsCount(postID)
	}, query2, nil)
	return err
}

func TestExample2Dashboard(t *testing.T) {
	s, client := open(t)
	if err := setupDashboard(client); err != nil {
		t.Fatal(err)
	}
	id := s.create("posts", map[string]any{"title": "news", "status": "published"})
	expect(t, "add news")
	s.update("posts", id, map[string]any{"title": "newer"})
	expect(t, "updated newer")
	s.create("comments", map[string]any{"postId": id})
	expect(t, "count "+id)
}

func TestExample4ConnectionMonitoring(t *testing.T) {
	_, client := open(t)
	// Monitor connection state
	client.Realtime.OnDisconnect = func(activeSubscriptions []string) {
		if len(activeSubscriptions) > 0 {
			fmt.Println("Connection lost, attempting to reconnect...")
			showConnectionStatus("Reconnecting...")
		} else {
			say("Intentionally disconnected (no active subscriptions)")
		}
	}
	// Monitor connection establishment
	unsubscribe, err := client.Realtime.Subscribe("PB_CONNECT", func(e map[string]interface{}) {
		showConnectionStatus("Connected")
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "status Connected")
	unsubscribe()
	expect(t, "Intentionally disconnected")
}

func TestErrorHandling(t *testing.T) {
	_, client := open(t)
	unsubscribe, err := client.Collection("nothing_here").Subscribe("*", handler, nil, nil)
	if err != nil {
		if clientErr, ok := err.(*bosbase.ClientResponseError); ok {
			if clientErr.Status == 403 {
				say("Permission denied")
			} else if clientErr.Status == 404 {
				say("Collection not found")
			} else {
				say(fmt.Sprintf("Subscription error: %v", err))
			}
		} else {
			say(fmt.Sprintf("Subscription error: %v", err))
		}
		expect(t, "Collection not found")
		return
	}
	defer unsubscribe()
	t.Fatal("it was not refused")
}
