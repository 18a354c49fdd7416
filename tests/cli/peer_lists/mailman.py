# Makes the mailing list of a test in Mailman 3 (mailman shell -r). Its members stand in the environment. It rewrites From
# (dmarc_mitigate_action), changes the Subject and adds a footer.
import os

from mailman.app.lifecycle import create_list
from mailman.config import config
from mailman.interfaces.action import Action
from mailman.interfaces.domain import IDomainManager
from mailman.interfaces.mailinglist import DMARCMitigateAction
from mailman.interfaces.usermanager import IUserManager
from zope.component import getUtility


def run():
    name = os.environ["TEST_LIST"]
    getUtility(IDomainManager).add(name.split("@")[1])
    made = create_list(name, ["owner@lists.example"])
    made.dmarc_mitigate_action = DMARCMitigateAction.munge_from
    made.dmarc_mitigate_unconditionally = True
    made.subject_prefix = "[talk] "
    made.send_welcome_message = False
    made.default_member_action = Action.accept
    for address in os.environ["TEST_MEMBERS"].split():
        made.subscribe(getUtility(IUserManager).create_address(address))
    config.db.commit()
