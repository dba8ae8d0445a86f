"""What runs inside Redis, and how draws are written for it: the arithmetic of `policy.buckets` at the server's time.

All keys share one hash tag, so that a cluster keeps them in one slot and a call takes of all buckets or of none. Every
key expires. For each draw the script gets ten arguments and answers four numbers; the whole answer is

    taken (0 or 1), place of the draw that lacks (from 1), seconds to wait (-1: time does not help), then for each draw
    a number (a rate: seconds until its bucket is full again; else what is held or spent), what was drawn ahead, whether
    it lacks (0 or 1), and of a budget the beginning of its period

The server's clock may be set, or another server may take over whose clock differs. The instant at which a bucket is
full is kept with the one at which it was written: if the latter is still to come, both are moved back. What was spent
of a budget in a period that is still to come counts for the present one. A member is judged dead by the heartbeats of
the others, not by the clock. So a clock that is set gives a burst, or a budget, at most once more, and makes nobody
wait longer.

A gateway whose clock differs, or whose question is under way at midnight, may mean another day than the server does:
what it knows of a budget says of which period it is, and holds for no other.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from gateway.limits.draws import is_gate
from gateway.limits.tables.table import StoreUnavailable
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import LATE, Draw

TAG = "{egress-limits}"
MEMBERS = f"{TAG}:members"

DEAD_SECONDS = 10.0
"""Seconds without a heartbeat after which what a member holds is given back."""

ALIVE_SECONDS = 3.0
"""Seconds: a member with a younger heartbeat counts as a replica."""

HELD_SECONDS = 60
"""How long after its holders last reported it a count of what is held expires."""

LUA = (
    """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local member, forced = ARGV[1], ARGV[2] == '1'
local lacks, longest, results, writes = 0, 0, {}, {}
local newest
local function full_at(key, tat)
  return {'SET', key, string.format('%.6f %.6f', tat, now), 'PX', math.ceil((tat - now) * 1000) + 1000}
end
local function spent_in(key, start, spent, period)
  return {'SET', key, string.format('%d %.0f', start, spent), 'PX', math.ceil(period * 1000) + 60000}
end
for i = 1, #KEYS - 1 do
  local at = 2 + (i - 1) * 10
  local kind, rate, burst = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local amount, ahead, floor = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local period, own, report = tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8]), ARGV[at + 9] == '1'
  local began = tonumber(ARGV[at + 10])
  local key, wait, extra, start = KEYS[i], 0, 0, 0
  if kind == 'rate' or kind == 'pace' then
    local from, told = string.match(redis.call('GET', key) or '0 0', '(%S+) (%S+)')
    from, told = tonumber(from), tonumber(told)
    if told > now then
      from = from - told + now
      redis.call(unpack(full_at(key, from)))
    end
    if from <= now or own == 1 then from = math.max(from, now + math.max(floor, 0)) end
    if (kind == 'rate' or report) and from > now + burst / rate + """
    f"{LATE:g}"
    """ then from = now + (kind == 'pace' and burst or burst - 1) / rate end
    wait = from + (amount - burst) / rate - now
    if wait <= 0.000000001 then
      wait = 0
      extra = math.max(0, math.min(ahead, math.floor((now - from) * rate + burst - amount + 0.000001)))
    end
    local tat = from + (amount + extra) / rate
    if report and wait > 0 and not forced then tat = from end
    if forced then wait = math.max(0, tat + (1 - burst) / rate - now) end
    writes[i] = full_at(key, tat)
    results[i] = {string.format('%.9f', tat - now), extra, string.format('%.9f', from - now)}
  elseif kind == 'held' then
    local held, told = own, own .. ' ' .. ARGV[at + 6]
    local counts = redis.call('HGETALL', key)
    for j = 1, #counts, 2 do
      local count, number = string.match(counts[j + 1], '(%S+) ?(%S*)')
      if counts[j] == member then
        if number ~= '' and tonumber(number) > floor then told = counts[j + 1] end
      else
        newest = newest or tonumber(redis.call('ZRANGE', KEYS[#KEYS], -1, -1, 'WITHSCORES')[2] or now)
        local seen = tonumber(redis.call('ZSCORE', KEYS[#KEYS], counts[j]) or '0')
        if seen < newest - """
    f"{DEAD_SECONDS:g}"
    """ then redis.call('HDEL', key, counts[j]) else held = held + tonumber(count) end
      end
    end
    if held > rate then wait = -1 end
    writes[i] = {'HSET', key, member, told}
    results[i] = {string.format('%.9f', held), 0, string.format('%.9f', held - amount)}
  else
    start = math.floor(now / period) * period
    local first, second = string.match(redis.call('GET', key) or '', '(%S+) (%S+)')
    local spent = 0
    if first and tonumber(first) >= start then spent = tonumber(second) end
    if first and tonumber(first) > start then redis.call(unpack(spent_in(key, start, spent, period))) end
    if began == start then spent = math.max(spent, floor) end
    if forced then
      if spent + amount >= rate then wait = start + period - now end
    elseif spent >= rate then
      wait = start + period - now
    end
    writes[i] = spent_in(key, start, spent + amount, period)
    results[i] = {string.format('%.0f', spent + amount), 0, string.format('%.0f', spent)}
  end
  if wait ~= 0 and not report and (longest ~= -1) and (wait == -1 or wait > longest) then lacks, longest = i, wait end
  results[i][4], results[i][5] = wait ~= 0 and 1 or 0, start
end
local taken = (lacks == 0 or forced) and 1 or 0
local answer = {taken, lacks, string.format('%.9f', longest)}
for i = 1, #KEYS - 1 do
  if taken == 1 then
    redis.call(unpack(writes[i]))
    if writes[i][1] == 'HSET' then redis.call('EXPIRE', KEYS[i], """
    f"{HELD_SECONDS}"
    """) end
    answer[#answer + 1] = results[i][1]
    answer[#answer + 1] = results[i][2]
  else
    answer[#answer + 1] = results[i][3]
    answer[#answer + 1] = 0
  end
  answer[#answer + 1] = results[i][4]
  answer[#answer + 1] = results[i][5]
end
return answer
"""
)


_NO_ANSWER = "invalid answer to our script"


class SentDraw(NamedTuple):
    """One draw as it is sent. `limit` may be narrower than the draw's own. `ahead` is how many more are wanted of a
    rate. `floor` is what is known of the bucket here, in the answer's terms, as the store may have lost it; for what is
    held it is instead the number of this question, as a member's questions may overtake each other on the way. `own` is
    what this member holds, this draw included. (Of a gate that is reported it is sent as 1: it is closed for at least
    as long as `floor` says.) `began` is when the budget's period began that `floor` is of, in Unix seconds."""

    draw: Draw
    limit: Limit
    ahead: int = 0
    floor: float = 0.0
    own: int = 0
    began: float = 0.0


class DrawAnswer(NamedTuple):
    """The answer about one draw. `number` is, for a rate, seconds until its bucket is full; else what is held, or was
    spent since `began` (Unix seconds)."""

    number: float
    ahead: int
    lacked: bool
    began: float = 0.0


class Answer(NamedTuple):
    """Whether all was taken; which draw lacks most, by its place, if any does, and for how long."""

    taken: bool
    lacking: int
    wait: float
    draws: Sequence[DrawAnswer]


def keys_for(asked: Sequence[SentDraw]) -> list[str]:
    """One for each draw, then that of the members."""
    return [*(key_of(each.draw) for each in asked), MEMBERS]


def key_of(draw: Draw) -> str:
    """The key of a bucket."""
    return "\0".join((f"{TAG}:{draw.limit.name}", *draw.key))


def arguments_for(member: str, asked: Sequence[SentDraw], forced: bool = False) -> list[str]:
    """As the script reads them. `forced`: take what has moved already, whether it is there or not."""
    arguments = [member, "1" if forced else "0"]
    for each in asked:
        limit = each.limit
        own = 1 if forced and is_gate(limit) else each.own
        arguments += [_kind(limit), repr(limit.rate), repr(limit.burst), repr(each.draw.amount), str(each.ahead)]
        arguments += [repr(each.floor), repr(limit.period), str(own), "1" if limit.report else "0"]
        arguments.append(repr(each.began))
    return arguments


def read_answer(reply: Sequence[bytes | int], asked: int) -> Answer:
    """What the script answered to `asked` draws. Raises `StoreUnavailable` for anything else."""
    try:
        (taken, lacking, longest), rest = reply[:3], reply[3:]
        wait = float(longest)
        each = zip(rest[::4], rest[1::4], rest[2::4], rest[3::4], strict=True)
        draws = [
            DrawAnswer(float(number), int(ahead), lacked == 1, float(began)) for number, ahead, lacked, began in each
        ]
        answer = Answer(taken == 1, int(lacking) - 1, inf if wait < 0 else wait, draws)
    except (TypeError, ValueError) as error:
        raise StoreUnavailable(_NO_ANSWER) from error
    if len(draws) != asked or not (answer.taken or 0 <= answer.lacking < asked):
        raise StoreUnavailable(_NO_ANSWER)
    return answer


def _kind(limit: Limit) -> str:
    if limit.counted is Counted.CONCURRENT:
        return "held"
    if limit.counted is Counted.BYTES:
        return "bytes"
    return "pace" if limit.counted is Counted.BANDWIDTH else "rate"
