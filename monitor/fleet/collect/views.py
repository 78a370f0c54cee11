"""The views of the fleet's database, for its readers: pages, `--status`, Grafana."""

VIEWS = """
-- Sounds that began and have not ended, as far as is known.
CREATE VIEW going_on AS
SELECT onsets.* FROM onsets
WHERE at > now() - interval '1 day' AND NOT EXISTS (
    SELECT FROM events
    WHERE events.monitor = onsets.monitor AND events.id = onsets.id
        AND events.at > now() - interval '2 days');

-- One row a monitor: whether it listens, and what is wrong with it.
CREATE VIEW fleet AS
SELECT
    m.monitor, m.site, m.version, m.model, m.bundle, m.since, m.digest_at,
    arrival.last_seen,
    coalesce(jsonb_array_length(m.digest -> 'sources'), 0) AS sources,
    CASE WHEN is_silent THEN 'silent' WHEN NOT is_listening THEN 'not listening' END
        AS deaf,                       -- null: it listens
    CASE WHEN is_silent THEN last_seen
        WHEN NOT is_listening THEN coalesce(trouble.since, m.digest_at) END
        AS deaf_since,
    CASE WHEN day.seconds > 0 THEN greatest(0, least(1,
        (ran.seconds - coalesce(gap.seconds, 0)) / day.seconds)) END
        AS listened_24h,               -- share of the last day, or since the first one
    CASE WHEN cardinality(m.delays) > 0 THEN
        -(SELECT min(each) FROM unnest(m.delays) AS each) END
        AS clock_ahead_seconds,        -- with the shortest delay on the way
    greatest(0, (m.digest ->> 'last')::bigint - m.digest_sequence)
        AS pending,                    -- records on their way behind that digest
    coalesce(lack.missing, 0) AS missing,  -- sequence numbers
    coalesce(lack.given_up, 0) AS given_up,
    coalesce((SELECT sum(count) FROM refused WHERE refused.monitor = m.monitor), 0)
        ::bigint AS refused,
    coalesce(m.digest -> 'health', '[]') AS health
FROM monitors AS m
CROSS JOIN LATERAL (
    SELECT coalesce(max(last_seen), m.since) AS last_seen FROM epochs
    WHERE epochs.monitor = m.monitor
) AS arrival
CROSS JOIN LATERAL (
    SELECT last_seen < now() - interval '3 minutes' OR m.digest_at IS NULL AS is_silent,
        coalesce((m.digest ->> 'listening')::boolean, true) AS is_listening
) AS state
LEFT JOIN LATERAL (
    SELECT min((each ->> 'since')::timestamptz) AS since
    FROM jsonb_array_elements(m.digest -> 'health') AS each
    WHERE each ->> 'kind' = 'deaf'
) AS trouble ON true
CROSS JOIN LATERAL (
    SELECT tstzrange(greatest(m.since, now() - interval '1 day'), now()) AS range
) AS window_of
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM upper(range) - lower(range))::double precision AS seconds
) AS day
CROSS JOIN LATERAL (
    -- Until the next digest, a monitor that sends is taken to run.
    SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0)
        ::double precision AS seconds
    FROM unnest(
        (m.ran + CASE WHEN is_silent THEN '{}'::tstzmultirange
            ELSE tstzmultirange(tstzrange(least(m.digest_at, now()), now())) END)
        * tstzmultirange(range)
    ) AS each
) AS ran
LEFT JOIN LATERAL (
    -- Those of records, and one that goes on; a mean over the sources.
    SELECT sum(seconds) / greatest(jsonb_array_length(m.digest -> 'sources'), 1)
        AS seconds
    FROM (
        SELECT least(left_out_seconds, extract(epoch FROM
            upper(tstzrange(gaps.started, gaps.ended) * range)
            - lower(tstzrange(gaps.started, gaps.ended) * range)))
            ::double precision AS seconds
        FROM gaps
        WHERE gaps.monitor = m.monitor AND gaps.at > now() - interval '32 days'
            AND gaps.ended > lower(range)
            AND gaps.started < gaps.ended
            AND tstzrange(gaps.started, gaps.ended) && range
        UNION ALL
        -- Of a long one, parts are records already.
        SELECT extract(epoch FROM now() - greatest(
            coalesce((each ->> 'since')::timestamptz, m.digest_at), lower(range),
            (SELECT max(ended) FROM gaps
            WHERE gaps.monitor = m.monitor AND gaps.source = each ->> 'source'
                AND gaps.at > now() - interval '1 day')))
            ::double precision
        FROM jsonb_array_elements(m.digest -> 'health') AS each
        WHERE each ->> 'kind' = 'deaf' AND NOT is_silent
    ) AS every
) AS gap ON true
LEFT JOIN (
    SELECT epochs.monitor,
        sum(amount) FILTER (WHERE missing.given_up IS NULL)::bigint AS missing,
        sum(amount) FILTER (WHERE missing.given_up IS NOT NULL)::bigint AS given_up
    FROM epochs JOIN missing ON missing.epoch_id = epochs.id
    WHERE filled IS NULL GROUP BY epochs.monitor
) AS lack ON lack.monitor = m.monitor;
"""
