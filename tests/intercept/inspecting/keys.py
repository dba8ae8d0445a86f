"""One key of every known form, put together here so that nobody takes this file for a leak."""

_LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

KEYS = {
    "aws-access-key": b"AK" b"IA" + b"IOSFODNN7EXAMPLE",
    "github-token": b"gh" b"p_" + _LETTERS[:36],
    "github-fine-grained-token": b"github" b"_pat_" + (_LETTERS * 2)[:82],
    "gitlab-token": b"gl" b"pat-" + _LETTERS[:20],
    "google-api-key": b"AI" b"za" + _LETTERS[:35],
    "jwt": b"ey" b"JhbGciOiJIUzI1NiJ9" + b".ey" b"JzdWIiOiIxMjM0In0" + b".c2lnbmF0dXJl",
    "npm-token": b"np" b"m_" + _LETTERS[:36],
    "private-key": b"-----BEGIN" + b" RSA PRIVATE KEY-----",
    "slack-token": b"xo" b"xb-" + b"1234567890-" + _LETTERS[:20],
    "stripe-key": b"sk_" b"live_" + _LETTERS[:24],
}
