// The C++ wrapper: handles that clean up after themselves, functions as callbacks, exceptions.
//
//     c++ -std=c++17 wrapper.cpp $(pkg-config --cflags --libs tidings) -o wrapper && ./wrapper http://127.0.0.1:8090
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <tidings.hpp>

int main(int argc, char **argv) try {
    std::mutex lock;
    std::condition_variable changed;
    int seen = 0;

    // Declared after what its callbacks use, and so gone before it.
    tidings::client client(argc > 1 ? argv[1] : "http://127.0.0.1:8090");
    client.on_state([](const tidings::state &state) { std::cout << '[' << state.text << "]\n"; });
    auto posts = client.subscribe("posts", "*", [&](const tidings::event &event) {
        std::cout << event.action_name() << ' ' << event.record().value_or("") << std::endl;
        if (!event.is_notice()) {
            std::lock_guard guard(lock);
            seen++;
            changed.notify_one();
        }
    });

    const std::string path = "/api/collections/posts/records";
    auto made = client.send("POST", path, R"({"title": "Hello"})");
    // A program would use its JSON library; ids of PocketBase have 15 characters.
    std::string body(made.body()), record = path + '/' + body.substr(body.find(R"("id":")") + 6, 15);
    client.send("PATCH", record, R"({"title": "Hello, C++"})");
    client.send("DELETE", record);

    std::unique_lock guard(lock);
    changed.wait(guard, [&] { return seen == 3; });
    guard.unlock();

    try {
        client.send("GET", record);
    } catch (const tidings::error &error) {
        std::cout << "as expected: " << error.http_status() << ", " << error.what() << '\n';
    }
    // A callback may be running while `client` goes, and what it uses is on this stack: wait for its end.
    client.close();
    return 0;
} catch (const tidings::error &error) {
    std::cerr << tidings_status_name(error.status()) << ": " << error.what() << '\n';
    return 1;
}
