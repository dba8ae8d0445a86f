"""One key of every known form, put together here so that nobody takes this file for a leak."""

_LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

KEYS = {
    "aws-access-key": b"AKIA" + b"IOSFODNN7EXAMPLE",
    "github-token": b"ghp_" + _LETTERS[:36],
    "github-fine-grained-token": b"github_pat_" + (_LETTERS * 2)[:82],
    "gitlab-token": b"glpat-" + _LETTERS[:20],
    "google-api-key": b"AIza" + _LETTERS[:35],
    "jwt": b"eyJhbGciOiJIUzI1NiJ9" + b".eyJzdWIiOiIxMjM0In0" + b".c2lnbmF0dXJl",
    "npm-token": b"npm_" + _LETTERS[:36],
    "private-key": b"-----BEGIN" + b" RSA PRIVATE KEY-----",
    "slack-token": b"xoxb-" + b"1234567890-" + _LETTERS[:20],
    "stripe-key": b"sk_live_" + _LETTERS[:24],
}
