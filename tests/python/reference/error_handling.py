from tidings import BosBase
from tidings.exceptions import ClientResponseError

pb = BosBase("http://127.0.0.1:8090")


def handler(event):
    print(f"Event: {event['action']}")


try:
    pb.collection("posts").subscribe("*", handler)
except ClientResponseError as error:
    if error.status == 403:
        print("Permission denied")
    elif error.status == 404:
        print("Collection not found")
    else:
        print(f"Subscription error: {error}")
except Exception as error:
    print(f"Unexpected error: {error}")
