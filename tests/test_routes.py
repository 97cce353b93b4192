from starlette.testclient import TestClient


def test_listing(client: TestClient) -> None:
    assert client.get("/styles").status_code == 200
