// SQL of the windows that a budget has by the calendar of its time zone. PostgreSQL's clock decides, and its time
// zones. ISO weeks begin on Monday; days are those of the place, 23 or 25 hours long when its clocks are set.
#pragma once

// Local time at which the window of an instant begins, of the row `b` of budget_limits; of runs and totals it does not
// matter.
#define COGNIVE_LOCAL_BEGIN(instant)                                                                           \
  "date_trunc(CASE WHEN b.window_kind IN ('day', 'week', 'month') THEN b.window_kind ELSE 'day' END, " instant \
  " AT TIME ZONE b.time_zone)"

// When a local time is reached for the first time: where clocks are set back at midnight, that comes twice.
#define COGNIVE_FIRST(local)                                                                           \
  "CASE WHEN ((" local " AT TIME ZONE time_zone) - interval '1 hour') AT TIME ZONE time_zone = " local \
  " "                                                                                                  \
  "THEN (" local " AT TIME ZONE time_zone) - interval '1 hour' ELSE " local " AT TIME ZONE time_zone END"

// From `window_kind`, `time_zone` and `local_begin`.
#define COGNIVE_BEGINS_AT \
  "CASE WHEN window_kind IN ('day', 'week', 'month') THEN " COGNIVE_FIRST("local_begin") " ELSE '-infinity' END"
#define COGNIVE_ENDS_AT                                                    \
  "CASE WHEN window_kind IN ('day', 'week', 'month') THEN " COGNIVE_FIRST( \
      "(local_begin + ('1 ' || window_kind)::interval)") " ELSE 'infinity' END"
