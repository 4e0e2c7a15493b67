// The C++ wrapper: handles that clean up after themselves, functions as callbacks, exceptions.
//
//     c++ -std=c++17 wrapper.cpp $(pkg-config --cflags --libs tidings) -o wrapper && ./wrapper http://127.0.0.1:8090
#include <condition_variable>
#include <iostream>
#include <memory>
#include <mutex>
#include <tidings.hpp>

// Owned by the callback and by main together, so that neither outlives it.
struct tally {
    std::mutex lock;
    std::condition_variable changed;
    int seen = 0;
};

int main(int argc, char **argv) try {
    tidings::client client(argc > 1 ? argv[1] : "http://127.0.0.1:8090");
    client.on_state([](const tidings::state &state) { std::cout << '[' << state.text << "]\n"; });
    auto tally = std::make_shared<struct tally>();
    auto posts = client.subscribe("posts", "*", [tally](const tidings::event &event) {
        std::cout << event.action_name() << ' ' << event.record().value_or("") << std::endl;
        if (!event.is_notice()) {
            std::lock_guard guard(tally->lock);
            tally->seen++;
            tally->changed.notify_one();
        }
    });

    const std::string path = "/api/collections/posts/records";
    auto made = client.send("POST", path, R"({"title": "Hello"})");
    // A program would use its JSON library; ids of PocketBase have 15 characters.
    std::string body(made.body()), record = path + '/' + body.substr(body.find(R"("id":")") + 6, 15);
    client.send("PATCH", record, R"({"title": "Hello, C++"})");
    client.send("DELETE", record);

    std::unique_lock guard(tally->lock);
    tally->changed.wait(guard, [&] { return tally->seen == 3; });
    guard.unlock();

    try {
        client.send("GET", record);
    } catch (const tidings::error &error) {
        std::cout << "as expected: " << error.http_status() << ", " << error.what() << '\n';
    }
    return 0;
} catch (const tidings::error &error) {
    std::cerr << tidings_status_name(error.status()) << ": " << error.what() << '\n';
    return 1;
}
