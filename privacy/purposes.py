"""The purposes for which FindMe processes personal data, with their legal bases (GDPR, articles 6, 9 and 30 (1) (b)).

The matches of a dating service can reveal the sexual orientation of a user, and the embeddings describe a face and a voice. So the purpose of
matching also needs explicit consent (article 9 (2) (a)).
"""

from __future__ import annotations

from privacy.declarations import Purpose

ACCOUNT = Purpose("the user's account", ("6(1)(b)",))
MATCHING = Purpose(
    "matches between users",
    ("6(1)(b)", "9(2)(a)"),
    automated_decisions="A program chooses who is suggested to you. It compares the numbers that were computed from your videos with those of other users,"
    " and takes your age, gender, place, interests and verification into account. The consequence is which profiles you see, and who sees yours."
    " It has no legal effect. You and the other person decide whether you accept a match.",
)
CALLS = Purpose("video calls between matched users", ("6(1)(b)",))
VERIFICATION = Purpose("verification of the users' videos", ("6(1)(b)", "6(1)(f)"))
SECURITY = Purpose("protection of accounts against attackers", ("6(1)(f)",), data_subjects=("users", "staff"))
ADMINISTRATION = Purpose("traceability of the actions of staff", ("6(1)(f)",), data_subjects=("users", "staff"))
ACCOUNTABILITY = Purpose("proof that the rights of users are respected", ("6(1)(c)",), data_subjects=("users", "staff"))
REQUESTS = Purpose("answers to the requests of data subjects", ("6(1)(c)",), data_subjects=("users", "staff", "others who make a request"))
