"""The bad inputs, faults and classes of attack that Sallyport answers for, and the tests that throw them at it.

A test of this table whose cluster is one process and comes from a fixture runs with a witness beside it (unharmed.py): the same
process, its memory and another running session have to be what they were. `make end-to-end` counts what was tried at its end, and
docs/security.md shows the table; test_table.py keeps both true.
"""

import typing


class Row(typing.NamedTuple):
    number: str
    input: str
    outcome: str
    # FILE::FUNCTION of Tests/EndToEnd, or Suite.function of Swift's unit tests.
    tests: list[str]


ROWS = [Row(number, what, outcome, tests.split()) for number, what, outcome, tests in [
    # What clients send
    ("1", "bytes behind the SSLRequest", "closed without a word; they never reach a database",
     "test_refusals.py::test_01_bytes_behind_the_ssl_request_close_the_connection"),
    ("2", "a startup packet in the clear", "28000 `TLS is required`",
     "test_refusals.py::test_02_startup_in_the_clear_is_told_that_tls_is_required"),
    ("3", "startup lengths 0, 4, 7, -1, 2³¹-1, 10001", "closed at once, in TLS with 08P01; nothing is allocated by them",
     "test_refusals.py::test_03_bad_startup_lengths StartupTests.lengthIsJudgedBeforeAnythingIsWaitedFor "
     "bad_inputs/test_strangers.py::test_03_04_what_strangers_send_costs_no_memory"),
    ("4", "HTTP, SSH, random bytes", "closed; a line a second of log at most",
     "test_refusals.py::test_04_other_protocols_are_closed "
     "bad_inputs/test_strangers.py::test_03_04_what_strangers_send_costs_no_memory"),
    ("5", "no client certificate", "28000 `a client certificate is required`",
     "test_refusals.py::test_05_no_client_certificate"),
    ("6", "certificates: of others, self-signed, under a leaf, of a CA with our name and another key, of a host; of our own CA, but "
     "expired, not yet valid, for servers, of an authority, weak",
     "a TLS alert; counted by reason in the metrics",
     "test_refusals.py::test_06_certificates_of_others TLSSessionTests.clientCertificatesOfOthersAreRefused "
     "bad_inputs/test_certificates.py::test_06_certificates_that_speak_for_nobody "
     "bad_inputs/test_certificates.py::test_06_certificates_of_hosts_are_no_users"),
    ("7", "a database user whom no role allows", "28000 with what to change, `db.session.start` failed; the database is not dialled",
     "test_refusals_by_roles.py::test_07_08_user_and_name_outside_the_roles "
     "test_roles_on_the_wire.py::test_07_08_forbidden_user_or_name_with_an_open_certificate"),
    ("8", "likewise a name or labels; unknown databases", "28000; unknown and forbidden databases answer alike",
     "test_roles_on_the_wire.py::test_08_unknown_and_forbidden_databases_answer_alike test_refusals_by_roles.py::test_unknown_database"),
    ("9", "a certificate for another user or database", "28000",
     "test_refusals_by_roles.py::test_09_certificate_for_another_user_or_database"),
    ("10", "no user; no database", "28000; the user's name, which the roles then judge",
     "test_refusals.py::test_10_missing_user StartupTests.databaseDefaultsToUser"),
    ("11", "duplicate keys, no end, bytes behind it, no UTF-8, control characters", "08P01",
     "test_refusals.py::test_11_malformed_startup_packets StartupTests.malformedPacketsAreProtocolViolations"),
    ("12", "`options` and other parameters", "relayed as sent (decision 005)", "test_clients.py::test_startup_parameters_are_relayed"),
    ("13", "`replication` in all spellings", "0A000 unless a role allows it",
     "test_refusals.py::test_13_replication_is_refused StartupTests.replicationSpellings "
     "test_roles_on_the_wire.py::test_13_replication_that_a_role_allows"),
    ("14", "GSSENCRequest, SSLRequest, and a third", "the first two work, the third is closed",
     "test_refusals.py::test_14_gss_then_tls_then_startup_works_and_a_third_is_refused "
     "test_limits.py::test_a_loop_of_requests_before_the_startup_ends_at_the_third"),
    ("15", "protocol 3.2, `_pq_.` options; 2.0 and 4.0", "negotiated down to 3.0; 0A000", "test_refusals.py::test_15_protocol_versions"),
    ("16", "direct TLS with, without and with a foreign ALPN", "works; alert no_application_protocol",
     "test_refusals.py::test_16_direct_tls_needs_a_protocol_of_ours "
     "bad_inputs/test_tls.py::test_names_that_clients_ask_for_decide_nothing"),
    ("17", "TLS 1.0 and 1.1, weak ciphers, renegotiation, resumption", "a TLS alert; nothing is resumed",
     "test_refusals.py::test_17_old_tls_versions bad_inputs/test_tls.py::test_17_ciphers_without_forward_secrecy_or_authentication "
     "bad_inputs/test_tls.py::test_17_no_renegotiation_and_no_compression bad_inputs/test_tls.py::test_17_no_session_is_resumed"),
    ("18", "cancel with a wrong key; with the key of another user's session", "silence; `db.session.cancel` refused",
     "test_refusals.py::test_18_19_wrong_and_stale_cancel_keys_do_nothing "
     "test_faults.py::test_cancel_by_another_user_is_refused_and_recorded"),
    ("19", "cancel after the session's end", "silence", "test_refusals.py::test_18_19_wrong_and_stale_cancel_keys_do_nothing"),
    ("20", "unknown types, lengths below 4, a query before the login is complete", "08P01, both legs closed",
     "test_refusals.py::test_20_21_broken_messages_end_both_legs test_refusals.py::test_28_query_before_the_login_is_complete "
     "MessageScannerTests.impossibleLengthsAreViolations"),
    ("21", "a password that nobody asked for", "08P01; it is in no log",
     "test_refusals.py::test_20_21_broken_messages_end_both_legs test_audit.py::test_protocol_messages_have_events_of_their_own"),
    ("22", "a query of a gigabyte", "streams through", "test_limits.py::test_22_a_gigabyte_in_one_message_streams "
     "MessageScannerTests.aGigabyteQueryNeedsNoMemory"),
    ("23", "65,535 parameters, names of a megabyte, a million statements", "right answers, bounded records",
     "test_limits.py::test_23_a_bind_with_every_parameter_there_can_be test_limits.py::test_23_names_of_a_megabyte "
     "test_limits.py::test_23_a_million_prepared_statements test_audit.py::test_23_a_million_names_cost_no_memory"),
    ("24", "a byte now and then before the startup", "closed at 10 s, whatever comes", "test_faults.py::test_half_open_logins_end_at_their_deadline "
     "bad_inputs/test_strangers.py::test_half_a_handshake_is_closed_in_time"),
    ("25", "a client that never reads", "256 KiB wait for it, no more; ended as stalled",
     "test_faults.py::test_client_that_never_reads_does_not_fill_memory DeadlineTests.aClientThatNeverReadsIsEndedAsStalled"),
    ("26", "a client that goes in mid query", "the query is cancelled", "test_clients.py::test_query_of_a_client_that_vanishes_is_cancelled"),
    ("27", "a certificate that expires in the session", "57P01 if a role says so", "test_faults.py::test_sessions_end_with_their_certificate"),
    ("28", "a lock during the session", "57P01 within a second; its query is cancelled", "test_locks.py::test_28_a_lock_ends_running_sessions_within_a_second "
     "test_cluster.py::test_a_lock_ends_sessions_at_the_agent_soon survived/test_abandoned.py::test_a_query_ends_with_its_session"),
    ("29", "line ends, escapes and JSON in each recorded field", "one record, well formed",
     "test_refusals.py::test_29_no_field_can_forge_an_audit_record test_roles_on_the_wire.py::test_29_forged_application_names "
     "test_roles_on_the_wire.py::test_29_forged_users_and_databases test_roles_on_the_wire.py::test_29_forged_users_at_the_login "
     "JSONTextTests.anyBytesMakeOneLineOfValidJSON"),
    # What databases do
    ("30", "`N` to the SSLRequest", "08001 `refused TLS`; nothing follows in the clear", "test_servers.py::test_30_refusal_of_tls"),
    ("31", "`S` and bytes in the clear", "08001; the client does not see them", "test_servers.py::test_31_bytes_behind_the_agreement"),
    ("32", "an error before TLS", "08001; its text is not shown", "test_servers.py::test_32_error_before_tls"),
    ("33", "certificates: expired, not yet valid, of another name, name in the CN only or before a NUL, wildcards, of an unknown CA, of one "
     "with the name of ours, of the CA of clients, self-signed, under a leaf, without the intermediate CA, of an authority, weak, not for servers",
     "08001 with the reason; no credentials are sent",
     "bad_inputs/test_certificates.py::test_33_certificates_of_databases test_refusals_of_aws.py::test_33_server_certificate_for_another_name "
     "TLSSessionTests.serverNamesAreCheckedAgainstTheSANs TLSSessionTests.namesInTheCommonNameOnlyAreRefusedWithTheMend"),
    ("34", "requests for passwords where TLS proves nothing; unknown requests", "08001; no password is sent (decision 013)",
     "test_servers.py::test_34_37_38_strange_logins AuthenticationTests.cleartextOnlyOverVerifiedTLS "
     "AuthenticationTests.digestsOnlyOverVerifiedTLS"),
    ("35", "success without proof of the password", "08001", "test_servers.py::test_35_success_without_proof "
     "AuthenticationTests.successWithoutTheServersProofIsRefused"),
    ("36", "impossible lengths, unknown types; rows without end, a row of a gibibyte", "closed, an error never lands within a row; they stream, and end with their client",
     "test_servers.py::test_36_broken_streams_after_the_login test_servers.py::test_36_a_fatal_error_never_lands_within_a_row "
     "test_servers.py::test_36_what_has_no_end_ends_with_its_client"),
    ("37", "errors without fields or end", "08001 `no reason given`", "test_servers.py::test_34_37_38_strange_logins"),
    ("38", "a password that is refused", "one retry if it was kept; the password is in no text",
     "test_servers.py::test_34_37_38_strange_logins AuthenticatorTests.aRejectedPasswordIsFetchedAnew"),
    ("39", "silence at each step; resets and ends", "08001 after 10 s; 08006", "test_servers.py::test_39_silence_at_each_stage_ends_after_ten_seconds "
     "test_servers.py::test_39_sudden_ends test_servers.py::test_39_sudden_ends_in_a_query"),
    ("40", "floods of notices and parameters", "bounded in the login, back-pressure behind it",
     "test_servers.py::test_40_floods_of_notices_in_the_login test_servers.py::test_40_floods_of_parameters_and_notices_in_the_session"),
    # What AWS answers
    ("41", "no credentials", "28000 naming where they were looked for", "test_refusals_of_aws.py::test_41_43_aws_refusals_name_what_is_missing "
     "test_credential_sources.py::test_a_host_without_credentials_hears_where_they_were_looked_for"),
    ("42", "expired credentials, clocks that differ", "looked for again once; corrected by AWS's Date",
     "test_aws_faults.py::test_42_expired_credentials_are_looked_for_again_once test_aws_faults.py::test_42_credentials_that_stay_expired_are_an_error "
     "test_aws_faults.py::test_42_a_wrong_clock_is_corrected"),
    ("43", "AccessDenied", "28000 with the role and the permission that is missing", "test_refusals_of_aws.py::test_41_43_aws_refusals_name_what_is_missing"),
    ("44", "throttling, 5xx, answers that stop; a hundred connects at once", "three tries in 10 s; one call",
     "test_refusals_of_aws.py::test_44_throttling_is_retried_and_a_hundred_connects_cause_one_call "
     "test_aws_faults.py::test_44_an_answer_that_stops_half_way_is_tried_again "
     "test_aws_faults.py::test_44_answers_that_keep_stopping_end_in_time_and_hold_up_nobody"),
    ("45", "bad XML and JSON, entities, 100 MiB with and without a declared length, redirects", "refused; no more than 1 MiB is kept, the connection is closed; "
     "no redirect is followed", "test_refusals_of_aws.py::test_45_bad_answers_of_aws"),
    ("46", "credentials of another database user; odd passwords", "refused; passed on byte by byte",
     "AuthenticatorTests.answersThatMakeNoSenseAreRefused test_aws_faults.py::test_passwords_beyond_ascii_are_prepared_as_postgres_does"),
    ("47", "instance metadata behind a hop", "an error within 3 s that names the hop limit", "test_credential_sources.py::test_47_the_hop_limit_is_named_in_time"),
    ("48", "uris, regions and ARNs of elsewhere", "an error at the start, or 28000", "test_role_chains.py::test_a_role_of_elsewhere_is_refused_although_a_pattern_allows_it "
     "test_role_chains.py::test_a_path_is_not_dropped AuthenticatorTests.endpoints"),
    # The control plane
    ("49", "join tokens: wrong, altered, empty, of another type, deleted, a megabyte", "one and the same 401; 429 after ten a minute; `instance.join` failed",
     "bad_inputs/test_joining.py::test_49_wrong_tokens_answer_alike_and_slow_down "
     "bad_inputs/test_api.py::test_bodies_that_are_no_requests AuthServerTests.joinTokens test_cluster.py::test_who_cannot_join_is_told_why"),
    ("50", "what is good for one use, used by many at once", "one wins (join tokens are good until they expire: invites, codes and proofs are for one use)",
     "bad_inputs/test_joining.py::test_50_an_invite_that_many_use_at_once_is_good_for_one AuthServerTests.invitesAndTheirBounds "
     "SecondFactorTests.ofManyLoginsWithOneCodeOneWins test_iam_join.py::test_what_botocore_signs_is_a_proof_once"),
    ("51", "a CA that does not match the pin", "the host stops before it sends the token", "bad_inputs/test_joining.py::test_51_the_token_stays_until_the_pin_fits"),
    ("52", "signing requests with other names, CA:TRUE, weak keys, broken signatures", "the server decides every field; 400",
     "bad_inputs/test_joining.py::test_52_the_server_decides_what_a_certificate_says AuthServerTests.loginGivesACertificateWhoseFieldsTheServerDecides"),
    ("53", "renewal by a locked host, or by a certificate that is no host's", "403; 401", "test_inventory.py::test_a_locked_host_is_out_within_a_second "
     "bad_inputs/test_api.py::test_each_route_asks_who_calls"),
    ("54", "users who change roles; roles with unknown keys, bad patterns, empty lists", "403; an error that names the place; deny wins",
     "test_control_plane.py::test_only_editors_may_administer test_control_plane.py::test_role_files_are_checked "
     "bad_inputs/test_files.py::test_54_deny_wins_and_empty_opens_nothing"),
    ("55", "YAML: expanding aliases, cycles, tags, duplicate and unknown keys, depth, a gigabyte of zeros", "one line with the place; nothing is applied",
     "bad_inputs/test_files.py::test_55_configurations_that_mean_harm bad_inputs/test_files.py::test_55_resources_that_mean_harm"),
    ("56", "rotation of CAs and rollback in each phase", "no session falls, new ones open", "test_rotation.py::test_no_session_falls_and_new_ones_open_at_every_phase "
     "test_rotation.py::test_rollback_from_each_phase"),
    ("57", "wrong passwords and codes, codes used twice", "429 after ten, for twice as long each time; the same answer for unknown users",
     "test_second_factor.py::test_wrong_codes_close_the_account_for_a_while AuthServerTests.waitsGrow "
     "AuthServerTests.unknownUsersCostWhatWrongPasswordsDo SecondFactorTests.aCodeIsDemandedAndGoodOnce "
     "bad_inputs/test_api.py::test_57_guessing_is_slowed_down"),
    # Resources
    ("58", "no descriptors left", "accepting pauses, sessions live, no spin", "test_limits.py::test_58_without_descriptors_accepting_pauses_and_nothing_else"),
    ("59", "5,000 sockets that never log in, beside a thousand sessions; twice the sessions that may be", "256 MiB are enough; 53300, and who is in goes on",
     "test_flood.py::test_a_flood_from_one_address_leaves_others_alone bad_inputs/test_memory.py::test_59_a_thousand_sessions_and_a_flood_fit_in_256_mib "
     "bad_inputs/test_overload.py::test_59_at_twice_the_limit_the_rest_is_told_and_the_others_go_on"),
    ("60", "a full disk under the audit log or the state; a data directory that is read-only, or becomes so",
     "57P03 for new sessions if the log cannot be written, changes refused, sessions go on, recovery by itself, of a failed disk once it is mounted anew; an error at the start",
     "survived/test_read_only.py::test_a_disk_that_becomes_read_only survived/test_full_disk.py::test_a_full_disk_under_the_state test_audit.py::test_60_a_full_disk_refuses_sessions_and_recovers bad_inputs/test_state.py::test_60_a_directory_that_cannot_be_written_is_told"),
    # The process
    ("61", "kill -9 of server, proxy, agent, database, AWS", "clients see the end at once, agents come back, records are whole",
     "test_audit.py::test_61_a_kill_leaves_whole_records_only test_cluster.py::test_agents_come_back_to_a_proxy_that_was_killed "
     "test_cluster.py::test_another_agent_takes_over_within_one_connect test_faults.py::test_killed_database_costs_its_sessions_and_no_more"),
    ("62", "SIGTERM under load, twice; SIGHUP with a bad file", "drained in time, 57P01; the old configuration stays",
     "test_operations.py::test_drain_lets_running_work_end test_operations.py::test_told_to_stop_at_once "
     "test_operations.py::test_a_bad_file_leaves_the_old_configuration"),
    ("63", "a clock that is an hour or ten years ahead, or behind", "sessions go on; certificates go by it, and so do locks that end",
     "bad_inputs/test_state.py::test_63_clocks_that_are_wrong"),
    ("64", "SIGSTOP and SIGCONT; two servers on one directory", "another agent is tried; the second is refused",
     "test_cluster.py::test_a_login_at_an_agent_that_froze_is_tried_at_another test_faults.py::test_two_servers_on_one_directory "
     "bad_inputs/test_state.py::test_64_a_server_that_was_stopped_goes_on"),
    ("65", "a state file with flipped bits or cut off", "no start, the file is named, or a start with the authorities that were; never a fresh CA over an old one",
     "bad_inputs/test_state.py::test_65_a_damaged_state_is_never_replaced AuthServerTests.damagedOrReadableStateIsRefused"),
    # The network
    ("66", "resets, ends and silence in each phase", "bounds of 5 to 30 s (decision 014)", "test_servers.py::test_39_sudden_ends "
     "test_servers.py::test_39_silence_at_each_stage_ends_after_ten_seconds test_faults.py::test_half_open_logins_end_at_their_deadline"),
    ("67", "an agent that does not answer; two of one kind", "the next is tried before the database hears anything",
     "test_cluster.py::test_a_login_at_an_agent_that_froze_is_tried_at_another test_cluster.py::test_another_agent_takes_over_within_one_connect"),
    ("68", "names that do not exist or whose name server is silent; addresses that nobody serves", "08001 at once, or after the resolver's 10 s",
     "bad_inputs/test_addresses.py::test_68_names_that_do_not_exist bad_inputs/test_addresses.py::test_68_a_name_server_that_does_not_answer "
     "bad_inputs/test_addresses.py::test_68_addresses_that_nobody_serves test_servers.py::test_nobody_listens"),
    ("69", "tunnel messages that are too long, unknown, cut short or out of place", "the tunnel is closed, others live",
     "bad_inputs/test_tunnels.py::test_69_an_agent_that_talks_nonsense_harms_itself_only TunnelMessageTests.randomBytesNeverTrap "
     "TunnelMessageTests.impossibleLengthsEndTheTunnelAtOnce"),
    # Classes of attack
    ("A1", "plaintext stuffed in before TLS", "rows 1 and 31", "test_refusals.py::test_01_bytes_behind_the_ssl_request_close_the_connection "
     "test_servers.py::test_31_bytes_behind_the_agreement"),
    ("A2", "lengths that overflow into another message", "lengths are kept as they came, and judged first", "MessageScannerTests.agreesWithTheSlowModelOnRandomStreamsCutAnywhere "
     "StartupTests.garbageNeverTraps"),
    ("A3", "negative lengths within messages", "read without trust, or not at all", "MessageScannerTests.repliesOfTheServerAreReadWithoutTrust "
     "AuthenticationTests.loginReaderCutsAnywhereAndBoundsLengths"),
    ("A4", "memory by declared length", "row 4", "bad_inputs/test_strangers.py::test_03_04_what_strangers_send_costs_no_memory"),
    ("A5", "SCRAM: long nonces, odd iterations and salts", "08001", "AuthenticationTests.scramRefusesWhatIsNotTrustworthy"),
    ("A6", "messages without their fields, in the wrong order", "08001 or 08P01", "test_servers.py::test_34_37_38_strange_logins"),
    ("A7", "startup parameters that bend the proxy's own SQL", "it has none (decision 005)", "test_clients.py::test_startup_parameters_are_relayed"),
    ("A8", "an identity from elsewhere than the certificate", "28000", "test_refusals_by_roles.py::test_09_certificate_for_another_user_or_database "
     "test_faults.py::test_sessions_end_with_their_certificate AuthServerTests.effectiveRolesAreThoseOfTheCertificateThatTheUserStillHas"),
    ("A9", "names of 0 bytes to 20 KiB", "28000; 08P01 above 2,048 bytes", "bad_inputs/test_strangers.py::test_a9_names_of_any_length_are_refused_alike "
     "test_long_names.py::test_a_name_that_the_database_cuts"),
    ("A10", "administration without a role for it", "401 without certificate, 403 without rule", "bad_inputs/test_api.py::test_each_route_asks_who_calls "
     "test_resource_kinds.py::test_each_verb_of_each_kind_is_asked_for"),
    ("A11", "names that mean something in a connection string", "they are names", "bad_inputs/test_strangers.py::test_a11_names_are_no_connection_strings"),
    ("A12", "guessing cancel keys", "10,000 guesses hit nothing and cost nobody anything", "bad_inputs/test_strangers.py::test_a12_guessed_cancel_keys_hit_nothing "
     "test_faults.py::test_cancel_by_another_user_is_refused_and_recorded"),
    ("A13", "replication", "row 13", "test_refusals.py::test_13_replication_is_refused"),
    ("A14", "GSS and SSL requests without end", "row 14", "test_limits.py::test_a_loop_of_requests_before_the_startup_ends_at_the_third"),
    ("A15", "slow and many half-open connections", "rows 24 and 59", "test_flood.py::test_a_flood_from_one_address_leaves_others_alone "
     "test_flood.py::test_connections_that_come_and_go_meet_the_rate test_faults.py::test_half_open_logins_end_at_their_deadline"),
    ("A16", "TLS: renegotiation, compression, resumption", "row 17", "bad_inputs/test_tls.py::test_17_no_renegotiation_and_no_compression "
     "bad_inputs/test_tls.py::test_17_no_session_is_resumed"),
    ("A17", "answers that nobody reads", "row 25", "test_faults.py::test_client_that_never_reads_does_not_fill_memory"),
    ("A18", "half-open and half-closed connections", "rows 26 and 39", "test_clients.py::test_query_of_a_client_that_vanishes_is_cancelled"),
    ("A19", "forged records and terminal codes", "row 29; tools escape what they print", "test_audit.py::test_19_statements_cannot_forge_records_or_reach_a_terminal "
     "JSONTextTests.anyBytesMakeOneLineOfValidJSON"),
    ("A20", "secrets in logs, arguments, environments, cores", "none in any of them", "bad_inputs/test_secrets.py::test_a20_no_secret_of_a_run_is_anywhere "
     "bad_inputs/test_secrets.py::test_a20_memory_is_closed_to_others test_faults.py::test_no_secret_is_in_any_log"),
    ("A21", "timing and texts that tell who exists", "one answer, one derivation", "test_control_plane.py::test_wrong_password_and_unknown_user_look_alike "
     "AuthServerTests.unknownUsersCostWhatWrongPasswordsDo"),
    ("A22", "`../` in names, links in place of files, files that show in errors", "refused; nothing of a file is shown",
     "bad_inputs/test_files.py::test_a22_names_stay_in_their_directory bad_inputs/test_files.py::test_a22_key_files_are_their_owners_and_no_links"),
    ("A23", "YAML", "row 55", "bad_inputs/test_files.py::test_55_configurations_that_mean_harm"),
    ("A24", "ARNs that look alike", "compared whole", "test_role_chains.py::test_a_path_is_not_dropped AuthenticatorTests.databaseUsers "
     "AuthenticatorTests.spellings"),
    ("A25", "roles of others (confused deputy)", "the external ID goes with its role", "test_role_chains.py::test_a_missing_external_id_is_refused_by_aws_and_the_role_is_named "
     "test_role_chains.py::test_people_share_no_session_and_long_names_stay_apart"),
    ("A26", "databases at the instance's metadata, by address or by name", "refused after resolution, however it is spelled; what else the name leads to is dialled",
     "bad_inputs/test_addresses.py::test_a26_link_local_addresses_are_not_dialled bad_inputs/test_addresses.py::test_a26_names_of_link_local_addresses_are_not_dialled "
     "bad_inputs/test_addresses.py::test_a26_what_else_a_name_leads_to_is_dialled"),
    ("A27", "TLS names of databases", "row 33", "bad_inputs/test_certificates.py::test_33_certificates_of_databases"),
    ("A28", "messages before the login is complete, or after Terminate", "08P01; not relayed", "test_refusals.py::test_28_query_before_the_login_is_complete "
     "MessageScannerTests.nothingBehindTerminateIsToBeRelayed"),
    ("A29", "statements past the audit log", "every statement has its record", "test_audit.py::test_every_statement_of_psycopg_has_its_event "
     "test_audit.py::test_protocol_messages_have_events_of_their_own test_audit.py::test_every_statement_of_asyncpg_has_its_event"),
]]

# All tests of the table that pytest runs.
END_TO_END = {test for row in ROWS for test in row.tests if "::" in test}
