"""Rules that the templates keep: encrypted, private, retained, no more rights than needed, usable with what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roman_assets.platform import pods
from tests.deploy.infrastructure.templates import FOLDER, NAMES, TEMPLATES, document, resources, statements, walk

#: What keeps data: a stack's end must not be theirs.
DATA = (
    "AWS::SecretsManager::Secret",
    "AWS::S3::Bucket",
    "AWS::KMS::Key",
    "AWS::ECR::Repository",
    "AWS::Logs::LogGroup",
    "AWS::EKS::Cluster",
)
#: Actions that know no resource: the only ones with "*".
NO_RESOURCE = re.compile(r"(autoscaling|ec2):(Describe|Get)\w+")
PARTS = re.compile(r"(Environment|KmsKeyArn|Key|Existing\w+)")


def test_templates_pass_cfn_lint() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, *(str(FOLDER / f"{name}.yaml") for name in NAMES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_template_is_in_the_order() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)


def test_parameters_are_documented() -> None:
    for name, template in TEMPLATES.items():
        for key, parameter in template["Parameters"].items():
            assert len(parameter["Description"]) > 10, f"{name}.{key}"
            assert parameter["Description"].endswith("."), f"{name}.{key}"
    assert document.page(document.PAGE.read_text()) == document.PAGE.read_text(), "make docs"


def test_commands_of_the_page_give_what_templates_need() -> None:
    """Every parameter named is one, every needed one is given, every output asked for is put out, in the order."""
    text = document.PAGE.read_text().replace("\\\n", " ")
    calls = re.findall(r"^deploy (\w+)(.*)$", text, re.MULTILINE)
    assert tuple(name for name, _ in calls) == NAMES
    assert len(re.findall(r"\$\(output (\w+) (\w+)\)", text)) >= len(NAMES)
    for name, rest in calls:
        parameters = TEMPLATES[name]["Parameters"]
        given = set(re.findall(r"(\w+)=", rest))
        needed = {key for key, value in parameters.items() if "Default" not in value}
        assert needed <= given <= parameters.keys(), name
        for other, output in re.findall(r"\$\(output (\w+) (\w+)\)", rest):
            assert NAMES.index(other) < NAMES.index(name)
            assert output in TEMPLATES[other]["Outputs"], (name, output)


def test_everything_at_rest_is_encrypted() -> None:
    seen = 0
    for name, r in resources():
        p, kind = r.get("Properties", {}), r["Type"]
        if kind == "AWS::S3::Bucket":
            (rule,) = p["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            algorithm = rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"]
            assert algorithm == ("AES256" if name == "storage.Reports" else "aws:kms"), name
        elif kind == "AWS::RDS::DBCluster":
            assert p["StorageEncrypted"] is True
            assert p["KmsKeyId"] == p["MasterUserSecret"]["KmsKeyId"] == {"Ref": "KmsKeyArn"}
        elif kind == "AWS::RDS::DBInstance":
            assert "PerformanceInsightsKMSKeyId" in p
        elif kind == "AWS::ECR::Repository":
            assert p["EncryptionConfiguration"]["EncryptionType"] == "KMS"
        elif kind == "AWS::Logs::LogGroup":
            assert p["KmsKeyId"] == {"Ref": "KmsKeyArn"}
        elif kind == "AWS::SecretsManager::Secret":
            assert p["KmsKeyId"] == {"Ref": "KmsKeyArn"}
            assert "SecretString" not in p, "made, not written down"
            made = p["GenerateSecretString"]
            assert made["PasswordLength"] >= 32
            assert made["ExcludePunctuation"] is True  # the password goes into URLs
        elif kind == "AWS::SNS::Topic":
            assert p["KmsMasterKeyId"] == {"Ref": "KmsKeyArn"}
        elif kind == "AWS::EKS::Cluster":
            assert p["EncryptionConfig"][0]["Resources"] == ["secrets"]
        elif kind == "AWS::EC2::LaunchTemplate":
            (disk,) = p["LaunchTemplateData"]["BlockDeviceMappings"]
            assert disk["Ebs"]["Encrypted"] is True
            assert "KmsKeyId" in disk["Ebs"]
        elif kind == "AWS::KMS::Key":
            assert p["EnableKeyRotation"] is True
        else:
            continue
        seen += 1
    assert seen >= 20


def test_everything_in_transit_is_encrypted() -> None:
    buckets = {name.split(".")[1] for name, _ in resources("AWS::S3::Bucket")}
    covered = set()
    for _, r in resources("AWS::S3::BucketPolicy"):
        for statement in r["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Sid"] == "TlsOnly":
                assert statement["Effect"] == "Deny"
                assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                covered.add(r["Properties"]["Bucket"]["Ref"])
    assert covered == buckets
    (parameters,) = [r for _, r in resources("AWS::RDS::DBClusterParameterGroup")]
    assert parameters["Properties"]["Parameters"]["rds.force_ssl"] == "1"


def test_nothing_is_public() -> None:
    kinds = {r["Type"] for _, r in resources()}
    assert {"AWS::S3::Bucket", "AWS::EC2::SecurityGroup", "AWS::RDS::DBCluster", "AWS::EKS::Cluster"} <= kinds
    for name, r in resources():
        p = r.get("Properties", {})
        if r["Type"] == "AWS::S3::Bucket":
            assert all(p["PublicAccessBlockConfiguration"].values()), name
            assert len(p["PublicAccessBlockConfiguration"]) == 4
            assert p["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        if r["Type"] == "AWS::RDS::DBInstance":
            assert p["PubliclyAccessible"] is False, name
        if r["Type"] == "AWS::EC2::Subnet":
            assert p["MapPublicIpOnLaunch"] is False, name
        if r["Type"] == "AWS::EC2::SecurityGroup":
            for rule in p["SecurityGroupIngress"]:
                assert rule.get("CidrIp") != "0.0.0.0/0", name
                assert "SourceSecurityGroupId" in rule or rule["CidrIp"] == {"Ref": "VpcCidr"}
        if r["Type"] == "AWS::EC2::LaunchTemplate":
            options = p["LaunchTemplateData"]["MetadataOptions"]
            assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1), name
    cluster = TEMPLATES["eks"]["Resources"]["Cluster"]["Properties"]["ResourcesVpcConfig"]
    assert cluster["EndpointPrivateAccess"] is True
    assert TEMPLATES["eks"]["Parameters"]["PublicAccessCidr"]["Default"] == ""
    assert not re.fullmatch(TEMPLATES["eks"]["Parameters"]["PublicAccessCidr"]["AllowedPattern"], "0.0.0.0/0")


def test_wildcards_only_where_an_action_knows_no_resource() -> None:
    checked = 0
    for name, statement in statements():
        checked += 1
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any(action in ("*", "s3:*", "kms:*", "iam:*") or action.endswith(":*") for action in actions), name
        if "*" in walk(statement["Resource"]):
            assert all(NO_RESOURCE.fullmatch(action) for action in actions), (name, actions)
        assert not any(action.startswith("iam:") for action in actions), name
    assert checked >= 9


def test_only_retention_deletes_and_nobody_deletes_versions() -> None:
    deleting = {name for name, s in statements() if "s3:DeleteObject" in walk(s["Action"])}
    assert deleting == {"roles.Dagster"}
    assert not any("Version" in str(s["Action"]) and "Delete" in str(s["Action"]) for _, s in statements())
    policy = TEMPLATES["storage"]["Resources"]["ProductsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (stay,) = [s for s in policy if s["Sid"] == "VersionsStay"]
    assert stay["Effect"] == "Deny"
    assert "s3:DeleteObjectVersion" in stay["Action"]
    landing = [s for _, s in statements() if any("LandingBucket}/*" in str(x) for x in walk(s["Resource"]))]
    assert landing
    assert all("Put" not in str(s["Action"]) and "Delete" not in str(s["Action"]) for s in landing)


def test_only_one_service_account_takes_each_role() -> None:
    accounts = []
    for name, r in resources("AWS::IAM::Role"):
        trust = r["Properties"]["AssumeRolePolicyDocument"]
        if "Fn::Sub" not in trust:
            (statement,) = trust["Statement"]
            assert set(statement["Principal"]) == {"Service"}, name
            continue
        text = trust["Fn::Sub"] if isinstance(trust["Fn::Sub"], str) else trust["Fn::Sub"][0]
        filled = json.loads(re.sub(r"\$\{(\w+)\}", r"\1", text))
        (statement,) = filled["Statement"]
        condition = statement["Condition"]["StringEquals"]  # equals, not like
        assert condition["OidcIssuer:aud"] == "sts.amazonaws.com"
        assert "*" not in condition["OidcIssuer:sub"]
        accounts.append(condition["OidcIssuer:sub"])
        assert "PermissionsBoundary" in r["Properties"] or name == "eks.VolumesRole", name
    assert len(set(accounts)) == len(accounts) == 5


def test_data_outlives_its_stack() -> None:
    assert {r["Type"] for _, r in resources(*DATA)} == set(DATA)
    for name, r in resources(*DATA):
        assert r["DeletionPolicy"] == r["UpdateReplacePolicy"] == "Retain", name
    (database,) = [r for _, r in resources("AWS::RDS::DBCluster")]
    assert database["DeletionPolicy"] == database["UpdateReplacePolicy"] == "Snapshot"
    assert database["Properties"]["DeletionProtection"] is True
    assert TEMPLATES["database"]["Parameters"]["BackupDays"]["MinValue"] >= 7
    for name, r in resources("AWS::S3::Bucket"):
        p = r["Properties"]
        assert p["VersioningConfiguration"] == {"Status": "Enabled"}, name
        assert any("AbortIncompleteMultipartUpload" in rule for rule in p["LifecycleConfiguration"]["Rules"]), name
        assert any("NoncurrentVersionExpiration" in rule for rule in p["LifecycleConfiguration"]["Rules"]), name
    products = TEMPLATES["storage"]["Resources"]["Products"]["Properties"]
    assert products["InventoryConfigurations"][0]["Enabled"] is True
    assert not any("ExpirationInDays" in rule for rule in products["LifecycleConfiguration"]["Rules"])


def test_no_secret_is_a_parameter() -> None:
    for name, template in TEMPLATES.items():
        for key in template["Parameters"]:
            assert not re.search(r"(?i)password|token|secret(?!arn)", key), f"{name}.{key}"
    cluster = TEMPLATES["database"]["Resources"]["Cluster"]["Properties"]
    assert cluster["ManageMasterUserPassword"] is True
    assert "MasterUserPassword" not in cluster


def test_node_groups_are_those_that_steps_ask_for_and_scale_to_zero() -> None:
    groups = {
        r["Properties"]["Labels"]["roman-assets/pool"]: r["Properties"] for _, r in resources("AWS::EKS::Nodegroup")
    }
    for pool, p in groups.items():
        least = p["ScalingConfig"]["MinSize"]
        assert least == p["ScalingConfig"]["DesiredSize"] == (1 if pool == "platform" else 0), pool
        taint = {"Key": "roman-assets/pool", "Value": pool, "Effect": "NO_SCHEDULE"}
        assert (taint in p.get("Taints", [])) == (pool != "platform"), "the platform's group takes everything else"
        template = TEMPLATES["eks"]["Resources"][p["LaunchTemplate"]["Id"]["Ref"]]["Properties"]["LaunchTemplateData"]
        assert template["ImageId"]["Fn::If"][1] == {"Ref": "NodeAmiId"}
        text = template["UserData"]["Fn::If"][1]["Fn::Base64"]["Fn::Sub"][0]
        assert f"--node-labels=roman-assets/pool={pool}" in text, "an AMI of the mission's gets no labels from EKS"
        assert (f"--register-with-taints=roman-assets/pool={pool}:NoSchedule" in text) == (pool != "platform")
    profiles = getattr(pods, "PROFILES", None)
    if profiles is None:
        assert groups.keys() == {"platform", "light", "images", "spectra", "season", "bigmem"}
        return
    assert groups.keys() == {"platform", *(profile.name for profile in profiles)}
    spot = {pool for pool, p in groups.items() if isinstance(p["CapacityType"], dict)}
    assert spot == {profile.name for profile in profiles if profile.spot}


@pytest.mark.parametrize(
    ("template", "parameter"),
    [
        ("network", "ExistingVpcId"),
        ("network", "ExistingPrivateSubnetIds"),
        ("eks", "ExistingClusterName"),
        ("eks", "ExistingOidcProviderArn"),
        ("eks", "ExistingNodeRoleArn"),
        ("eks", "NodeAmiId"),
        ("storage", "ExistingLandingBucket"),
        ("alarms", "ExistingTopicArn"),
        ("roles", "PermissionsBoundaryArn"),
        ("database", "SnapshotIdentifier"),
    ],
)
def test_what_a_mission_cloud_gives_is_taken(template: str, parameter: str) -> None:
    body: dict[str, Any] = TEMPLATES[template]
    assert body["Parameters"][parameter]["Default"] == ""
    assert {"Ref": parameter} in walk([body["Resources"], body.get("Outputs", {})])


def test_images_are_scanned_and_never_change() -> None:
    assert list(resources("AWS::ECR::Repository"))
    for name, r in resources("AWS::ECR::Repository"):
        assert r["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True}, name
        assert r["Properties"]["ImageTagMutability"] == "IMMUTABLE", name


def test_alarms_reach_somebody() -> None:
    assert len(list(resources("AWS::CloudWatch::Alarm"))) >= 3
    for name, r in resources("AWS::CloudWatch::Alarm"):
        p = r["Properties"]
        assert p["AlarmActions"] == [{"Fn::If": ["NewTopic", {"Ref": "Topic"}, {"Ref": "ExistingTopicArn"}]}], name
        assert p["TreatMissingData"] in ("breaching", "notBreaching"), name
        assert len(p["AlarmDescription"]) > 30, name
