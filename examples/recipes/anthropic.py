"""A chat answer as Anthropic's API streams it: the event type says what each message is, and there are pings."""

from tidings import EventSource


def chat(url: str, key: str, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    body = {"model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": True, "messages": messages}
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    answer = ""
    with EventSource(url, headers=headers, json=body) as stream:
        for message in stream:
            if message.event == "content_block_delta":
                answer += message.json()["delta"].get("text", "")
            elif message.event == "message_stop":
                return answer
            elif message.event == "error":
                raise RuntimeError(message.json()["error"]["message"])
    raise RuntimeError("the answer ended before message_stop")
