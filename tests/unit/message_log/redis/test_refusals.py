"""What a Redis has answered is told in words of ours, whichever version said it, and nothing of what it was told."""

import pytest
import redis

from hazoom_ws.message_log.redis.server import Refused, Server

IN_A_SCRIPT = "Error running script (call to f_0a1b): @user_script:1: @user_script: 12: -"
SAID = {
    redis.ResponseError(f"{IN_A_SCRIPT}OOM command not allowed when used memory > 'maxmemory'."): "Redis is full",
    redis.ResponseError(f"{IN_A_SCRIPT}NOREPLICAS Not enough good replicas to write."): (
        "Redis has too few replicas (min-replicas-to-write)"
    ),
    redis.exceptions.OutOfMemoryError("command not allowed. script: 0a1b, on @user_script:1."): "Redis is full",
    redis.ResponseError("UNBLOCKED and then a secret"): "Redis refuses (UNBLOCKED)",
    redis.exceptions.MovedError("6732 10.0.0.1:6379"): "the cluster has moved our keys to another node",
    redis.exceptions.AskError("6732 10.0.0.1:6379"): "the cluster has moved our keys to another node",
    redis.exceptions.ClusterDownError("The cluster is down"): "the cluster is down",
    redis.exceptions.MasterDownError("Link with MASTER is down"): "Redis has lost its master",
    redis.exceptions.ReadOnlyError("You can't write against a read only replica."): (
        "this Redis is a replica, which takes no writes"
    ),
}
NOT_ANSWERED = {
    redis.exceptions.ConnectionError("Error 111 connecting to secret"): "Redis cannot be reached",
    redis.exceptions.TimeoutError("Timeout reading from secret"): "Redis does not answer",
    ConnectionResetError(): "Redis cannot be reached",
}


@pytest.mark.parametrize("error", [*SAID, *NOT_ANSWERED], ids=repr)
def test_an_answer_is_told_in_our_words(error: Exception) -> None:
    server = Server("redis://:secret@host", "test", timeout_s=1.0)
    with pytest.raises(Refused) as caught, server.refusing():
        raise error
    assert caught.value.reason == (SAID | NOT_ANSWERED)[error]
    assert caught.value.is_unknown is (error in NOT_ANSWERED)
