"""What coordinator and joining site must agree on: the invitation, the messages, the reasons to refuse."""
