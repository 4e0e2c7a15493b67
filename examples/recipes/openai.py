"""A chat answer as OpenAI's API and many others stream it."""

from tidings import EventSource


def chat(url: str, key: str, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    body = {"model": "gpt-4o-mini", "stream": True, "messages": messages}
    answer = ""
    with EventSource(url, token=key, json=body) as stream:
        for message in stream:
            if message.data == "[DONE]":
                return answer
            chunk = message.json()
            if error := chunk.get("error"):
                raise RuntimeError(error["message"])
            for choice in chunk["choices"]:
                answer += choice["delta"].get("content") or ""
    raise RuntimeError("the answer ended before [DONE]")
