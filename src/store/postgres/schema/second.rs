//! Format 2: records of correspondents' own keys, and counters beside the spends.

/// The table of the records, and `spend` with counters.
///
/// A counter is a row of `used`. Stamps with one are inserted after the others and one by one, in the order of their
/// counters, each of which is locked first: two sessions that count the same wait for each other.
pub(super) const SECOND: &str = "
create table mailstamp.peer (space int not null, key bytea not null, peer text not null, primary key (space, key));

drop function mailstamp.spend(int, bytea[], bigint[], bytea[], bytea[], bigint[], text[], boolean[]);

-- As before; where a stamp has a counter, it is inserted only while that is below the limit, and counts. `uses` is what
-- the counter was before.
create function mailstamp.spend(
    of_space int, stamps bytea[], hours bigint[], messages bytea[], owners bytea[], seen bigint[], standings text[],
    inserts boolean[], counters bytea[], counter_hours bigint[], caps smallint[], no_message bytea
) returns table (
    fresh boolean, message bytea, owner bytea, first_seen bigint, times smallint, standing text, uses smallint,
    mark bigint, epoch bigint, wal_position text, tables oid
) language plpgsql volatile as $$
#variable_conflict use_column
declare
    its_mark bigint;
    its_epoch bigint;
    its_tables oid;
    added bytea[];
    counted smallint[];
    its_uses smallint;
    i int;
begin
    perform pg_advisory_xact_lock_shared(SPENDS, of_space);
    select s.mark, s.epoch, s.tableoid into strict its_mark, its_epoch, its_tables from mailstamp.space s where s.id = of_space;
    with new as (
        insert into mailstamp.used (space, stamp, hour, first_seen, times, message, owner)
        select of_space, t.stamp, t.hour, t.seen, 0, t.message, t.owner
        from unnest(stamps, hours, messages, owners, seen, standings, inserts, counters)
            as t (stamp, hour, message, owner, seen, standing, inserted, counter)
        where t.inserted and t.counter is null and (its_mark is null or t.hour > its_mark)
            and t.standing is not distinct from (
                select s.standing from mailstamp.standing s where s.space = of_space and s.stamp = t.stamp
            )
        order by t.stamp
        on conflict do nothing
        returning stamp
    )
    select coalesce(array_agg(new.stamp), '{}') into added from new;
    counted := array_fill(null::smallint, array[coalesce(array_length(stamps, 1), 0)]);
    for i in
        select t.place from unnest(counters, stamps) with ordinality as t (counter, stamp, place)
        where t.counter is not null order by t.counter, t.stamp
    loop
        if inserts[i] and caps[i] > 0 then
            insert into mailstamp.used (space, stamp, hour, first_seen, times, message)
            values (of_space, counters[i], counter_hours[i], seen[i], 0, no_message) on conflict do nothing;
        end if;
        select u.times into its_uses from mailstamp.used u where u.space = of_space and u.stamp = counters[i] for update;
        counted[i] := coalesce(its_uses, 0);
        if inserts[i] and counted[i] < caps[i] and (its_mark is null or hours[i] > its_mark)
            and standings[i] is not distinct from (
                select s.standing from mailstamp.standing s where s.space = of_space and s.stamp = stamps[i]
            )
        then
            insert into mailstamp.used (space, stamp, hour, first_seen, times, message, owner)
            values (of_space, stamps[i], hours[i], seen[i], 0, messages[i], owners[i]) on conflict do nothing;
            if found then
                added := array_append(added, stamps[i]);
                update mailstamp.used u set times = counted[i] + 1 where u.space = of_space and u.stamp = counters[i];
            end if;
        end if;
    end loop;
    return query
        select coalesce(t.stamp = any (added), false), u.message, u.owner, u.first_seen, u.times, s.standing, t.uses,
            its_mark, its_epoch, pg_current_wal_insert_lsn()::text, its_tables
        from unnest(stamps, counted) with ordinality as t (stamp, uses, place)
        left join mailstamp.used u on u.space = of_space and u.stamp = t.stamp
        left join mailstamp.standing s on s.space = of_space and s.stamp = t.stamp
        order by t.place;
end $$;
";
